//! Probes of an app that listens on loopback, where kubelet cannot reach it: `GET /probe/8080/healthz` on the
//! admin port requests `http://127.0.0.1:8080/healthz`. Only listed probes are relayed, and only the status is
//! returned, so that this does not bypass the agent.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use humantime::format_duration;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::admin::http::text;
use crate::connection::error_chain::with_causes;
use crate::proxy::app_endpoint::Target;
use crate::proxy::http::MAX_HEAD_BYTES;
use crate::proxy::http::headers::remove_hop_headers;
use crate::proxy::inbound::{forwarded, proxy_protocol};

/// The prefix of the path under which probes are relayed.
pub const PREFIX: &str = "/probe/";
/// kubelet has a timeout of its own; this one only ends what it gave up long ago.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One path of the app on its loopback port, written `8080/healthz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    port: u16,
    path_and_query: String,
    /// The app expects a header of PROXY protocol first.
    pub proxy_v2: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not PORT/PATH of the app; write it like 8080/healthz")]
pub struct ProbeError(String);

impl Probe {
    /// Whether `path`, which begins with `PREFIX`, requests this probe.
    pub fn is(&self, path: &str) -> bool {
        path.strip_prefix(PREFIX).is_some_and(|path| with_commas(path) == self.to_string())
    }

    pub async fn relay(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let status = tokio::time::timeout(TIMEOUT, self.request(request.headers().clone())).await;
        match status.unwrap_or_else(|_| Err(format!("no answer within {}", format_duration(TIMEOUT)))) {
            // kubelet would follow a redirect within the app; from here it cannot, and counts it as a success.
            Ok(status) if status.is_success() || status.is_redirection() => {
                text(StatusCode::OK, format!("the app answered {}\n", status.as_u16()))
            }
            Ok(status) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("the app answered {}\n", status.as_u16()))
            }
            Err(cause) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")),
        }
    }

    async fn request(&self, mut headers: HeaderMap) -> Result<StatusCode, String> {
        remove_hop_headers(&mut headers);
        // The request has no body, and kubelet has no verified identity.
        forwarded::remove_identity(&mut headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(EXPECT);
        if let Some(host) = headers.get(HOST).and_then(|host| self.host_of_app(host)) {
            headers.insert(HOST, host);
        }
        // What "localhost" stands for is IPv6 alone to some apps.
        let other = Target::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, self.port)));
        let (app, mut stream) = match self.app().connect(TIMEOUT).await {
            Ok(stream) => (self.app(), stream),
            Err(error) => {
                let stream = other.connect(TIMEOUT).await.map_err(|_| error.to_string())?;
                (other, stream)
            }
        };
        if self.proxy_v2 {
            let sent = proxy_protocol::send_local(&mut stream).await;
            sent.map_err(|error| format!("the app at {app} closed the connection: {error}"))?;
        }
        let failed =
            |error: hyper::Error| format!("the app at {app} gave no valid response: {}", with_causes(&error));
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = self.path_and_query.parse().map_err(|error| format!("{error}"))?;
        *request.headers_mut() = headers;
        let status = async { sender.send_request(request).await.map(|response| response.status()) };
        let mut status = pin!(status);
        tokio::select! {
            status = &mut status => status.map_err(failed),
            // The app may have answered and closed already.
            end = connection => status.await.map_err(|_| {
                end.err().map_or_else(|| format!("the app at {app} closed the connection"), failed)
            }),
        }
    }

    /// Where the app listens.
    pub fn app(&self) -> Target {
        Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }

    /// Whether this is its app, on whichever loopback address that listens.
    pub fn is_of(&self, target: &Target) -> bool {
        matches!(target, Target::Tcp(address) if address.port() == self.port && address.ip().is_loopback())
    }

    /// kubelet sets the address that it dialled as the host, unless the probe sets a host of its own.
    fn host_of_app(&self, host: &HeaderValue) -> Option<HeaderValue> {
        let dialled: SocketAddr = host.to_str().ok()?.parse().ok()?;
        HeaderValue::from_str(&SocketAddr::new(dialled.ip(), self.port).to_string()).ok()
    }
}

/// A comma separates probes in a list, and is written %2C there.
fn with_commas(text: &str) -> String {
    text.replace("%2C", ",")
}

impl FromStr for Probe {
    type Err = ProbeError;

    fn from_str(given: &str) -> Result<Self, ProbeError> {
        let text = with_commas(given);
        let probe = || {
            let slash = text.find('/')?;
            let port = text[..slash].parse().ok().filter(|port| *port > 0)?;
            let path_and_query: hyper::http::uri::PathAndQuery = text[slash..].parse().ok()?;
            // What parsing drops or changes could not be matched again.
            (path_and_query.as_str() == &text[slash..]).then(|| Self {
                port,
                path_and_query: text[slash..].into(),
                proxy_v2: false,
            })
        };
        probe().ok_or_else(|| ProbeError(given.into()))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.port, self.path_and_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_port_and_a_path() {
        for good in ["8080/", "8080/healthz", "1/a?b=c&d=,"] {
            assert_eq!(good.parse::<Probe>().unwrap().to_string(), good);
        }
        let listed: Probe = "1/a%2Cb".parse().unwrap();
        assert!(listed.is("/probe/1/a,b") && listed.is("/probe/1/a%2Cb"));
        assert!(!listed.is("/probe/1/a") && !listed.is("/probe/1/a,b?c") && !listed.is("1/a,b"));
        for bad in ["", "8080", "/healthz", "0/", "70000/", "x/y", "8080/a b", "8080/a#b"] {
            assert_eq!(bad.parse::<Probe>(), Err(ProbeError(bad.into())));
        }
    }

    #[test]
    fn the_host_is_that_of_the_app_unless_the_probe_names_one() {
        let probe: Probe = "8080/healthz".parse().unwrap();
        let host = |text| probe.host_of_app(&HeaderValue::from_static(text));
        assert_eq!(host("10.1.2.3:9640").unwrap(), "10.1.2.3:8080");
        assert_eq!(host("[fd00::1]:9640").unwrap(), "[fd00::1]:8080");
        assert_eq!(host("shop.example:80"), None);
    }
}
