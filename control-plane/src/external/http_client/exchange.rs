//! One HTTP request and its response. Neither errors nor debug output repeat what was sent or received, the path of
//! the URL included: all of them may hold keys.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::api::duration;

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
    Unreachable { address: SocketAddr, cause: String },
    #[error("no connection through the proxy {proxy}: {cause}")]
    Proxy { proxy: String, cause: String },
    #[error("TLS handshake failed: {0}")]
    Tls(rustls::Error),
    #[error("no complete response within {}", duration::format(*.0))]
    Timeout(Duration),
    #[error("response body is longer than {0} bytes")]
    TooLong(usize),
    #[error("HTTP exchange failed: {0}")]
    Http(String),
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

impl HttpError {
    pub(super) fn from_address(address: SocketAddr, error: reqwest::Error) -> Self {
        Self::from_client(error, |cause| Self::Unreachable { address, cause })
    }

    pub(super) fn through_proxy(proxy: &impl fmt::Display, error: reqwest::Error) -> Self {
        Self::from_client(error, |cause| Self::Proxy { proxy: proxy.to_string(), cause })
    }

    fn from_client(error: reqwest::Error, unconnected: impl FnOnce(String) -> Self) -> Self {
        // The message would begin with the URL.
        let error = error.without_url();
        if let Some(tls) = causes(&error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.clone());
        }
        let cause = if error.is_timeout() { "timed out".to_owned() } else { root_cause(&error) };
        if error.is_connect() { unconnected(cause) } else { Self::Http(cause) }
    }
}

/// The error and what caused it, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(Some(error), |error| cause(*error))
}

fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    // The source of an I/O error is that of the error within, which would be left out.
    let within = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    match within {
        Some(within) => Some(within),
        None => error.source(),
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

/// `max_body`: bytes of the response's body; with 0 the body is not read at all.
pub(super) async fn read(
    mut response: reqwest::Response,
    max_body: usize,
) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
    if max_body == 0 {
        return Ok(HttpResponse { status, retry_after, body: Zeroizing::default() });
    }
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok());
    let expected = expected.unwrap_or_default().min(max_body);
    let mut body = Zeroizing::new(Vec::with_capacity(expected));
    let broken = |error| HttpError::from_client(error, HttpError::Http);
    while let Some(data) = response.chunk().await.map_err(broken)? {
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
