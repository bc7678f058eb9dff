//! An address from the settings file, and how to connect to it. Every address that its name resolves to is checked
//! against the [`AddressPolicy`], and the connection goes to the address that was checked.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address_policy::AddressPolicy;
use super::exchange::{HttpError, HttpRequest, HttpResponse, exchange};

/// Addresses of one name that are tried; the others are ignored.
const MAX_ADDRESSES: usize = 8;

#[derive(Clone)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    /// `None`: plain HTTP, on loopback.
    tls: Option<Arc<ClientConfig>>,
    policy: AddressPolicy,
}

/// Why a URL is rejected. The URL is not repeated: it may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("not a URL: write it like https://hooks.example/hotcert")]
    Malformed,
    #[error("only https is supported, and http to a loopback address that allowNetworks includes")]
    Plain,
    #[error("a URL must not contain a password: send it as a header")]
    Password,
    #[error("cannot read the roots: {0}")]
    Roots(String),
}

impl Endpoint {
    /// `roots`: the roots of the server's certificate in PEM; `None` for the public web PKI.
    pub fn new(url: &str, policy: AddressPolicy, roots: Option<&[u8]>) -> Result<Self, EndpointError> {
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
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() && policy.allows(ip));
        let tls = match scheme {
            "https" => Some(client_config(roots)?),
            "http" if is_loopback => None,
            _ => return Err(EndpointError::Plain),
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { uri, host, port, tls, policy })
    }

    /// Scheme, host and port, for logs and errors: the path may be a secret.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.uri.scheme_str().unwrap_or_default(), self.authority())
    }

    fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Sends one request on a connection of its own. `max_body`: bytes of the response's body; with 0 the body
    /// is not read at all.
    pub async fn send(
        &self,
        request: HttpRequest,
        within: Duration,
        max_body: usize,
    ) -> Result<HttpResponse, HttpError> {
        let exchange = self.connect_and_exchange(request, within / 3, max_body);
        timeout(within, exchange).await.unwrap_or(Err(HttpError::Timeout(within)))
    }

    async fn connect_and_exchange(
        &self,
        request: HttpRequest,
        connect_within: Duration,
        max_body: usize,
    ) -> Result<HttpResponse, HttpError> {
        let request = self.prepare(request)?;
        let socket = self.connect(connect_within).await?;
        match &self.tls {
            None => exchange(socket, request, max_body).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(invalid)?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, socket).await.map_err(HttpError::Tls)?;
                exchange(stream, request, max_body).await
            }
        }
    }

    fn prepare(&self, request: HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
        let HttpRequest { method, path, headers, body } = request;
        let mut request = Request::new(Full::new(Bytes::from_owner(body)));
        *request.method_mut() = method;
        let path = path.as_deref().unwrap_or(self.path());
        *request.uri_mut() = path.parse().map_err(|_| invalid("malformed path"))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(self.authority()).map_err(invalid)?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    /// Connects to the first allowed address that accepts. `within`: for each address.
    async fn connect(&self, within: Duration) -> Result<TcpStream, HttpError> {
        let unresolved = |cause: String| HttpError::Unresolved { host: self.host.clone(), cause };
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| unresolved(error.to_string()))?;
        let mut last = None;
        for address in addresses.take(MAX_ADDRESSES) {
            if !self.policy.allows(address.ip()) {
                let rejected =
                    HttpError::AddressNotAllowed { host: self.host.clone(), address: address.ip() };
                last.get_or_insert(rejected);
                continue;
            }
            let timed_out = Err(io::Error::from(io::ErrorKind::TimedOut));
            match timeout(within, TcpStream::connect(address)).await.unwrap_or(timed_out) {
                Ok(socket) => {
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(cause) => last = Some(HttpError::Unreachable { address, cause }),
            }
        }
        Err(last.unwrap_or_else(|| unresolved("the name has no address".into())))
    }
}

fn invalid(error: impl fmt::Display) -> HttpError {
    HttpError::InvalidRequest(error.to_string())
}

fn client_config(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, EndpointError> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| EndpointError::Roots(error.to_string()))?;
                store.add(certificate).map_err(|error| EndpointError::Roots(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(EndpointError::Roots("the file contains no certificate".into()));
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.origin()).finish()
    }
}
