//! Requests to addresses that people wrote down: webhooks, secrets managers, the keys of senders. Over HTTPS,
//! never redirected, within limits of time and size; and to public addresses alone, whatever a name resolves
//! to at that moment, unless the range was allowed for that endpoint. What may be secret in a request or an
//! answer is wiped where we hold it; the buffers of the TLS and HTTP libraries are out of our hands.

mod address_policy;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

pub use address_policy::{AddressPolicy, Network, NetworkError};

/// Of the head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// A name may resolve to many; more than these are not tried.
const MAX_ADDRESSES: usize = 8;

/// Where requests go, and how it is known that they got there.
#[derive(Clone)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    /// `None`: plain HTTP, on loopback.
    tls: Option<Arc<ClientConfig>>,
    reach: AddressPolicy,
}

/// What is sent.
pub struct HttpRequest {
    pub method: Method,
    /// Path and query, instead of the endpoint's own.
    pub path: Option<String>,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// What came back. Any status is an answer.
pub struct HttpResponse {
    pub status: StatusCode,
    /// Of `Retry-After` in seconds, or as a date.
    pub retry_after: Option<Duration>,
    pub body: Zeroizing<Vec<u8>>,
}

/// What is wrong with an address. It is not repeated: it may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("it is no address such as https://hooks.example/hotcert")]
    Malformed,
    #[error("only https is spoken, and http to an allowed address of this machine")]
    Plain,
    #[error("a password does not belong into an address: send it as a header")]
    Password,
    #[error("its roots cannot be read: {0}")]
    Roots(String),
}

/// Why there was no answer. None of them repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("{host} cannot be resolved: {cause}")]
    Unresolved { host: String, cause: String },
    #[error("{host} is at {address}, which is no public address: allow its network if that is meant")]
    Refused { host: String, address: std::net::IpAddr },
    #[error("{address} cannot be reached: {cause}")]
    Unreachable { address: SocketAddr, cause: io::Error },
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("no whole answer within {0:?}")]
    Late(Duration),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no answer that is HTTP: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Malformed(String),
}

impl WebError {
    /// The word for it in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::Refused { .. } => "refused_address",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls(_) => "tls",
            Self::Late(_) => "late",
            Self::TooLong(_) => "too_long",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl Endpoint {
    /// `roots`: who may have signed its certificate, PEM; without, the roots that browsers know.
    pub fn new(url: &str, reach: AddressPolicy, roots: Option<&[u8]>) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::Malformed)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EndpointError::Malformed);
        };
        if authority.as_str().contains('@') {
            return Err(EndpointError::Password);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || ServerName::try_from(host.clone()).is_err() {
            return Err(EndpointError::Malformed);
        }
        let is_here = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() && reach.allows(ip));
        let tls = match scheme {
            "https" => Some(client(roots)?),
            "http" if is_here => None,
            _ => return Err(EndpointError::Plain),
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { uri, host, port, tls, reach })
    }

    /// Scheme and host, for people and for logs: a path may be a secret.
    pub fn shown(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.uri.authority().map_or("", |authority| authority.as_str()))
    }

    /// The path that it was made with.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// One request on a connection of its own. `most`: bytes of the answer's body; of none, it is not waited
    /// for either.
    pub async fn send(
        &self,
        call: HttpRequest,
        within: Duration,
        most: usize,
    ) -> Result<HttpResponse, WebError> {
        match tokio::time::timeout(within, self.exchange(call, within / 3, most)).await {
            Ok(answer) => answer,
            Err(_) => Err(WebError::Late(within)),
        }
    }

    async fn exchange(
        &self,
        call: HttpRequest,
        patience: Duration,
        most: usize,
    ) -> Result<HttpResponse, WebError> {
        let HttpRequest { method, path, headers, body } = call;
        let mut request = Request::new(Full::new(Bytes::from_owner(body)));
        *request.method_mut() = method;
        *request.uri_mut() = path
            .as_deref()
            .unwrap_or(self.path())
            .parse()
            .map_err(|_| WebError::Malformed("its path is none".into()))?;
        *request.headers_mut() = headers;
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).map_err(|error| WebError::Malformed(error.to_string()))?;
        request.headers_mut().insert(HOST, host);
        let socket = self.connect(patience).await?;
        match &self.tls {
            None => exchange(socket, request, most).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|error| WebError::Malformed(error.to_string()))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, socket).await.map_err(WebError::Tls)?;
                exchange(stream, request, most).await
            }
        }
    }

    /// To an address that was looked at, and not to what the name resolves to the next time. `patience`: with
    /// each of them.
    async fn connect(&self, patience: Duration) -> Result<TcpStream, WebError> {
        let unresolved = |cause: String| WebError::Unresolved { host: self.host.clone(), cause };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| unresolved(error.to_string()))?;
        let mut last = None;
        for address in found.take(MAX_ADDRESSES) {
            if !self.reach.allows(address.ip()) {
                let refused = WebError::Refused { host: self.host.clone(), address: address.ip() };
                last.get_or_insert(refused);
                continue;
            }
            let late = || Err(io::Error::from(io::ErrorKind::TimedOut));
            match tokio::time::timeout(patience, TcpStream::connect(address)).await.unwrap_or_else(|_| late())
            {
                Ok(socket) => {
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(cause) => last = Some(WebError::Unreachable { address, cause }),
            }
        }
        Err(last.unwrap_or_else(|| unresolved("it has no address".into())))
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, most: usize) -> Result<HttpResponse, WebError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::client::conn::http1::Builder::new();
    http.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await?;
    // With the answer it is no longer needed, and it goes with this future.
    let exchange = async move {
        let response = sender.send_request(request).await?;
        read(response, most).await
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            // All was read: what is left is in the response.
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}

async fn read(response: Response<Incoming>, most: usize) -> Result<HttpResponse, WebError> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
    if most == 0 {
        return Ok(HttpResponse { status, retry_after, body: Zeroizing::default() });
    }
    let mut body = response.into_body();
    let expected = usize::try_from(body_length(&body)).unwrap_or(most).min(most);
    let mut read = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if read.len() + data.len() > most {
            return Err(WebError::TooLong(most));
        }
        if read.len() + data.len() > read.capacity() {
            // A buffer that grows by itself leaves copies behind.
            let room = (2 * (read.len() + data.len())).min(most);
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&read);
            read = larger;
        }
        read.extend_from_slice(&data);
    }
    Ok(HttpResponse { status, retry_after, body: read })
}

fn body_length(body: &Incoming) -> u64 {
    use hyper::body::Body as _;
    body.size_hint().lower()
}

fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

fn client(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, EndpointError> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| EndpointError::Roots(error.to_string()))?;
                store.add(certificate).map_err(|error| EndpointError::Roots(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(EndpointError::Roots("there is no certificate in the file".into()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| EndpointError::Roots(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl HttpResponse {
    /// Without its body, which may hold a key: the status, for an error.
    pub fn refusal(&self) -> String {
        format!("it answers {}", self.status)
    }
}

impl HttpRequest {
    pub fn new(method: Method) -> Self {
        Self { method, path: None, headers: HeaderMap::new(), body: Zeroizing::default() }
    }

    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// `value` is kept out of what is logged.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, WebError> {
        let malformed = |error: &dyn Error| WebError::Malformed(format!("the header {name}: {error}"));
        let header: hyper::header::HeaderName = name.parse().map_err(|error| malformed(&error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| malformed(&error))?;
        value.set_sensitive(true);
        self.headers.append(header, value);
        Ok(self)
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        self.body = body.into();
        self
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown()).finish()
    }
}
