//! Upgrades: a client asks to speak another protocol on its connection (HTTP/1.1) or on one stream of it (HTTP/2, by
//! an extended CONNECT of RFC 8441). Both are passed on as what the other side takes; a WebSocket is translated
//! between them.

use std::io;
use std::sync::Arc;

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use h2::ext::Protocol;
use hyper::body::Body;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::Content;
use super::h2_stream::StreamIo;
use super::headers::remove_hop_headers;
use super::list;
use super::pool::Lease;
use super::request_body::RequestBody;
use super::upgraded::{OnUpgrade, Upgraded};
use crate::connection::memory::Share;
use crate::connection::tracked_stream::{ByteCounters, TrackedStream};
use crate::connection::tracker::Connection;
use crate::proxy::relay::relay;
use crate::proxy::request_error::RequestError;

const WEBSOCKET: &str = "websocket";
/// Of RFC 6455, to which the accepting side shows that it has read the key.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for.
pub struct Upgrade {
    protocol: HeaderValue,
    asked: Asked,
    client: OnUpgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Http1,
    ExtendedConnect,
}

impl Upgrade {
    /// Takes the wish for an upgrade out of a request, if it has one.
    pub fn take<B: Body>(request: &mut Request<B>) -> Option<Self> {
        let (protocol, asked) = match request.version() {
            Version::HTTP_2 => {
                let protocol = request.extensions_mut().remove::<Protocol>()?;
                (HeaderValue::from_str(protocol.as_str()).ok()?, Asked::ExtendedConnect)
            }
            // In a request with a body it may be ignored, which every client must expect.
            Version::HTTP_11 if request.body().is_end_stream() => {
                (asked_by_headers(request.headers())?, Asked::Http1)
            }
            _ => return None,
        };
        Some(Self { protocol, asked, client: OnUpgrade::of_request(request) })
    }

    /// Whether a CONNECT asks for another protocol, and not for a tunnel to a host.
    pub fn is_extended_connect<B>(request: &Request<B>) -> bool {
        request.extensions().get::<Protocol>().is_some()
    }

    /// Whether it is one of HTTP/1.1, for which an HTTP/1.1 connection is the natural choice.
    pub fn is_http1(&self) -> bool {
        self.asked == Asked::Http1
    }

    fn is_websocket(&self) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
    }

    /// The request for an HTTP/1.1 connection, and the key to which a WebSocket's answer must fit.
    pub(super) fn http1_request(
        &self,
        request: Request<()>,
    ) -> Result<(Request<RequestBody>, Option<HeaderValue>), RequestError> {
        let mut request = request.map(|()| RequestBody::empty());
        let mut own_key = None;
        if self.asked == Asked::ExtendedConnect {
            self.require_websocket()?;
            *request.method_mut() = Method::GET;
            let mut key = [0; 16];
            rand::fill(&mut key).map_err(|_| RequestError::NoRandomness)?;
            let headers = request.headers_mut();
            if let Ok(key) = HeaderValue::from_str(&BASE64.encode(key)) {
                headers.insert(SEC_WEBSOCKET_KEY, key.clone());
                own_key = Some(key);
            }
            headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        }
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
        Ok((request, own_key))
    }

    /// What the response on an HTTP/1.1 connection means for the client.
    pub(super) fn switched_http1(
        self,
        mut response: Response<Content>,
        own_key: Option<HeaderValue>,
        lease: Lease,
        name: &str,
    ) -> Result<(Response<Content>, Result<Tunnel, Lease>), RequestError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // To an extended CONNECT a success would say that the protocol was switched.
            if self.asked == Asked::ExtendedConnect && response.status().is_success() {
                return Err(RequestError::NotSwitched(name.into(), response.status()));
            }
            return Ok((response, Err(lease)));
        }
        if let Some(key) = own_key {
            let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
            if accepted != Some(accept(key.as_bytes()).as_bytes()) {
                return Err(RequestError::WrongWebSocketAccept(name.into()));
            }
        }
        let server = Server::Http1(OnUpgrade::of_response(&mut response));
        if let Lease::Http1 { connection, .. } = &lease {
            connection.upgraded();
        }
        let (mut head, _) = response.into_parts();
        let chosen = head.headers.get(UPGRADE).unwrap_or(&self.protocol).clone();
        if is_http_or_tls(&chosen) {
            return Err(RequestError::SwitchedUnasked(name.into()));
        }
        remove_hop_headers(&mut head.headers);
        if self.asked == Asked::Http1 {
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, chosen);
        } else {
            head.status = StatusCode::OK;
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
        }
        let tunnel = Tunnel { client: self.client, server, _lease: lease };
        Ok((Response::from_parts(head, Content::Own(None)), Ok(tunnel)))
    }

    /// The request for an HTTP/2 connection, and the key of the client's handshake.
    pub(super) fn extended_connect(
        &self,
        mut request: Request<()>,
    ) -> Result<(Request<()>, Option<HeaderValue>), RequestError> {
        let mut key = None;
        if self.asked == Asked::Http1 {
            self.require_websocket()?;
            key = request.headers_mut().remove(SEC_WEBSOCKET_KEY);
            *request.method_mut() = Method::CONNECT;
        }
        if let Ok(protocol) = std::str::from_utf8(self.protocol.as_bytes()) {
            let protocol = if self.is_websocket() { WEBSOCKET } else { protocol };
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        Ok((request, key))
    }

    /// What the response on an HTTP/2 connection means for the client.
    pub(super) fn switched_http2(
        self,
        mut response: Response<Content>,
        stream: Option<StreamIo>,
        key: Option<HeaderValue>,
        lease: Lease,
    ) -> Result<(Response<Content>, Result<Tunnel, Lease>), RequestError> {
        let Some(stream) = stream else { return Ok((response, Err(lease))) };
        if self.asked == Asked::Http1 {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.version_mut() = Version::HTTP_11;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, self.protocol.clone());
            if let Some(accept) = key.and_then(|key| HeaderValue::from_str(&accept(key.as_bytes())).ok()) {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        let tracked = match &lease {
            Lease::Http2 { connection, .. } => connection.tracked().map(Connection::open_tunnel),
            Lease::Http1 { .. } => None,
        };
        let server = match tracked {
            // The bytes are counted on the connection.
            Some(tunnel) => {
                let tunnel = Arc::new(tunnel.ok_or(RequestError::Full)?);
                Server::Tracked(TrackedStream::new(stream, tunnel, ByteCounters::uncounted()))
            }
            None => Server::Http2(stream),
        };
        let tunnel = Tunnel { client: self.client, server, _lease: lease };
        Ok((response, Ok(tunnel)))
    }

    fn require_websocket(&self) -> Result<(), RequestError> {
        match self.is_websocket() {
            true => Ok(()),
            false => {
                Err(RequestError::Untranslatable(String::from_utf8_lossy(self.protocol.as_bytes()).into()))
            }
        }
    }
}

/// The protocol that the headers of an HTTP/1.1 request ask for. HTTP/2 itself is negotiated by ALPN.
fn asked_by_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = list::contains(headers, &CONNECTION, "upgrade");
    (asked && !headers.get_all(UPGRADE).iter().any(is_http_or_tls)).then(|| protocol.clone())
}

/// Whether a list of protocols has HTTP or TLS in it: what a client says in these to the app the agent must see.
fn is_http_or_tls(list: &HeaderValue) -> bool {
    let list = String::from_utf8_lossy(list.as_bytes()).to_ascii_lowercase();
    list.split(',').any(|name| ["h2", "http", "tls"].iter().any(|barred| name.trim().starts_with(barred)))
}

fn accept(key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, WEBSOCKET_GUID].concat());
    BASE64.encode(digest)
}

/// Two sides that have switched to another protocol.
pub struct Tunnel {
    client: OnUpgrade,
    server: Server,
    /// The connection of the server's side, and its place among those that it may have.
    _lease: Lease,
}

enum Server {
    Http1(OnUpgrade),
    Http2(StreamIo),
    Tracked(TrackedStream<StreamIo>),
}

impl Tunnel {
    /// Carries bytes until both directions have ended. The client's stream is what `wrap` makes of it; what waits for
    /// its receiver is of `share`. Fails if one of both ends has failed.
    pub async fn run<W, S>(self, wrap: W, share: Arc<Share>) -> io::Result<()>
    where
        W: FnOnce(Upgraded) -> S,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { client, server, _lease } = self;
        // There is none if the client has gone before it had the response.
        let Some(client) = client.stream().await else { return Ok(()) };
        let mut client = wrap(client);
        // An error ends both sides: what they speak says how its messages end.
        match server {
            Server::Http1(server) => match server.stream().await {
                Some(mut server) => relay(&mut client, &mut server, &share).await,
                None => Ok(()),
            },
            Server::Http2(mut stream) => relay(&mut client, &mut stream, &share).await,
            Server::Tracked(mut stream) => relay(&mut client, &mut stream, &share).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_that_of_the_example_in_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_is_not_http2() {
        let asked = |connection: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            asked_by_headers(&headers)
        };
        assert_eq!(asked("keep-alive, Upgrade", "websocket"), Some(HeaderValue::from_static("websocket")));
        assert_eq!(asked("keep-alive", "websocket"), None);
        for barred in ["h2c", "x, h2c", "h2c-14", "TLS/1.2, websocket", "HTTP/2.0"] {
            assert_eq!(asked("upgrade", barred), None, "{barred}");
        }
    }
}
