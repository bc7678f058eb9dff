//! An address from the settings file, and how to connect to it. Every address that its name resolves to is checked
//! against the [`AddressPolicy`], and the connection goes to the address that was checked; or else to a [`Proxy`].

use std::fmt;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::uri::PathAndQuery;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Request, Url};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use super::address_policy::AddressPolicy;
use super::endpoint_error::EndpointError;
use super::exchange::{self, HttpError, HttpRequest, HttpResponse};
use super::proxy::Proxy;
use super::roots::{client_config, no_roots};

/// Addresses of one name that are tried; the others are ignored.
const MAX_ADDRESSES: usize = 8;

#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    host: String,
    tls: Arc<ClientConfig>,
    policy: AddressPolicy,
    proxy: Option<Arc<Proxy>>,
}

impl Endpoint {
    /// `roots`: the roots of the server's certificate in PEM; `None` for those of the operating system. Whether a
    /// proxy is used follows from the environment.
    pub fn new(url: &str, policy: AddressPolicy, roots: Option<&[u8]>) -> Result<Self, EndpointError> {
        Self::with_proxies(url, policy, roots, &Matcher::from_env())
    }

    pub(super) fn with_proxies(
        url: &str,
        policy: AddressPolicy,
        roots: Option<&[u8]>,
        proxies: &Matcher,
    ) -> Result<Self, EndpointError> {
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(EndpointError::Malformed);
        }
        let mut url: Url = url.parse().map_err(|_| EndpointError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Password);
        }
        url.set_fragment(None);
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || ServerName::try_from(host.clone()).is_err() {
            return Err(EndpointError::Malformed);
        }
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() && policy.allows(ip));
        let tls = match url.scheme() {
            "https" => client_config(roots)?,
            "http" if is_loopback => no_roots()?,
            _ => return Err(EndpointError::Plain),
        };
        let proxy = Proxy::for_url(&url, proxies)?.map(Arc::new);
        Ok(Self { url, host, tls, policy, proxy })
    }

    /// Scheme, host and port, for logs and errors: the path may be a secret.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The proxy that requests go through, without its credentials.
    pub fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(ToString::to_string)
    }

    /// Path of the URL, without the query.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Sends one request on a connection of its own. `max_body`: bytes of the response's body; with 0 the body
    /// is not read at all.
    pub async fn send(
        &self,
        request: HttpRequest,
        within: Duration,
        max_body: usize,
    ) -> Result<HttpResponse, HttpError> {
        let exchange = async {
            let response = self.request(request, within / 3).await?;
            exchange::read(response, max_body).await
        };
        timeout(within, exchange).await.unwrap_or(Err(HttpError::Timeout(within)))
    }

    async fn request(
        &self,
        request: HttpRequest,
        connect_within: Duration,
    ) -> Result<reqwest::Response, HttpError> {
        let url = self.url(request.path.as_deref())?;
        let HttpRequest { method, headers, body, .. } = request;
        let body = Bytes::from_owner(body);
        let prepare = || {
            let mut request = Request::new(method.clone(), url.clone());
            *request.headers_mut() = headers.clone();
            *request.body_mut() = Some(body.clone().into());
            request
        };
        if let Some(proxy) = &self.proxy {
            let client = self.client(connect_within).proxy(proxy.for_client()?);
            let sent = build(client)?.execute(prepare()).await;
            return sent.map_err(|error| HttpError::through_proxy(proxy, error));
        }
        let mut last = None;
        for address in self.addresses().await? {
            let client = self.client(connect_within).no_proxy().dns_resolver(Only(address));
            match build(client)?.execute(prepare()).await {
                Ok(response) => return Ok(response),
                Err(error) => match HttpError::from_address(address, error) {
                    error @ HttpError::Unreachable { .. } => last = Some(error),
                    error => return Err(error),
                },
            }
        }
        Err(last.unwrap_or_else(|| self.unresolved("the name has no address")))
    }

    /// The endpoint's URL, with another path and query if there is one.
    fn url(&self, path: Option<&str>) -> Result<Url, HttpError> {
        let mut url = self.url.clone();
        let Some(path) = path else { return Ok(url) };
        let path: PathAndQuery = path.parse().map_err(|_| invalid("malformed path"))?;
        // They would be resolved, and the request be one for something else.
        let is_dots =
            |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
        if path.path().contains('\\') || path.path().split('/').any(is_dots) {
            return Err(invalid("a path with . or .. or a backslash"));
        }
        url.set_path(path.path());
        url.set_query(path.query());
        Ok(url)
    }

    /// It follows no redirect, which could lead to any address, and tries nothing twice.
    fn client(&self, connect_within: Duration) -> ClientBuilder {
        Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(connect_within)
            .https_only(self.url.scheme() == "https")
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
    }

    /// The addresses that may be connected to, at least one.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, HttpError> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return self.allowed([SocketAddr::new(address, port)]);
        }
        let resolved = tokio::net::lookup_host((self.host.as_str(), port)).await;
        self.allowed(resolved.map_err(|error| self.unresolved(&error.to_string()))?)
    }

    /// Those of the addresses that the policy allows.
    fn allowed(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, HttpError> {
        let (allowed, refused): (Vec<_>, Vec<_>) =
            addresses.into_iter().take(MAX_ADDRESSES).partition(|address| self.policy.allows(address.ip()));
        match (allowed.is_empty(), refused.first()) {
            (true, Some(address)) => {
                Err(HttpError::AddressNotAllowed { host: self.host.clone(), address: address.ip() })
            }
            (true, None) => Err(self.unresolved("the name has no address")),
            _ => Ok(allowed),
        }
    }

    fn unresolved(&self, cause: &str) -> HttpError {
        HttpError::Unresolved { host: self.host.clone(), cause: cause.to_owned() }
    }
}

/// Resolves every name to the address that was checked.
struct Only(SocketAddr);

impl Resolve for Only {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

fn build(client: ClientBuilder) -> Result<Client, HttpError> {
    client.build().map_err(|error| invalid(error.without_url()))
}

fn invalid(error: impl fmt::Display) -> HttpError {
    HttpError::InvalidRequest(error.to_string())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.origin()).finish()
    }
}

#[cfg(test)]
mod tests;
