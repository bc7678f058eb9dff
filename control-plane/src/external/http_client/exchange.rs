//! One HTTP/1.1 request and its response on a stream that is already connected. Neither errors nor debug output
//! repeat what was sent or received: both may hold keys.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::api::duration;

/// Upper bound for the head of a response, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Names and values of headers; the values may be secret.
pub type Headers = Vec<(String, Zeroizing<String>)>;

pub struct HttpRequest {
    pub method: Method,
    /// Path and query; `None` for those of the endpoint's URL.
    pub path: Option<String>,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// A complete response, whatever its status.
pub struct HttpResponse {
    pub status: StatusCode,
    /// From `Retry-After`, given in seconds or as a date.
    pub retry_after: Option<Duration>,
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no response. No variant repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot resolve {host}: {cause}")]
    Unresolved { host: String, cause: String },
    #[error(
        "{host} resolves to {address}, which is not a public address: \
        if that is intended, add its network to allowNetworks"
    )]
    AddressNotAllowed { host: String, address: IpAddr },
    #[error("cannot connect to {address}: {cause}")]
    Unreachable { address: SocketAddr, cause: io::Error },
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("no complete response within {}", duration::format(*.0))]
    Timeout(Duration),
    #[error("response body is longer than {0} bytes")]
    TooLong(usize),
    #[error("HTTP exchange failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("invalid request: {0}")]
    InvalidRequest(String),
}

impl HttpRequest {
    pub fn new(method: Method) -> Self {
        Self { method, path: None, headers: HeaderMap::new(), body: Zeroizing::default() }
    }

    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds a header. Its value is marked as sensitive.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let invalid = |error: &dyn Error| HttpError::InvalidRequest(format!("header {name}: {error}"));
        let header: HeaderName = name.parse().map_err(|error| invalid(&error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| invalid(&error))?;
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

/// `max_body`: bytes of the response's body; with 0 the body is not read at all.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_body: usize,
) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::client::conn::http1::Builder::new();
    http.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await?;
    // The connection is dropped with this future: after the response it has no use.
    let exchange = async move {
        let response = sender.send_request(request).await?;
        read(response, max_body).await
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        response = &mut exchange => response,
        ended = &mut connection => match ended {
            // Everything was read from the stream; the rest is buffered in the response.
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}

async fn read(response: Response<Incoming>, max_body: usize) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
    if max_body == 0 {
        return Ok(HttpResponse { status, retry_after, body: Zeroizing::default() });
    }
    let mut incoming = response.into_body();
    let expected = usize::try_from(incoming.size_hint().lower()).unwrap_or(max_body).min(max_body);
    let mut body = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > max_body {
            return Err(HttpError::TooLong(max_body));
        }
        if body.len() + data.len() > body.capacity() {
            // A Vec that reallocates by itself would leave copies behind that are not zeroized.
            let capacity = (2 * (body.len() + data.len())).min(max_body);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&data);
    }
    Ok(HttpResponse { status, retry_after, body })
}

fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}
