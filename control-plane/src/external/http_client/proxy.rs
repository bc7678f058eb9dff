//! The proxy that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for an endpoint. What a proxy connects to is up to
//! the proxy: it resolves the name, and the address policy does not apply.

use std::fmt;
use std::net::IpAddr;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::Url;

use super::endpoint_error::EndpointError;
use super::exchange::HttpError;

pub struct Proxy(Intercept);

impl Proxy {
    /// `None`: the endpoint is connected to directly. So is this machine, always: a proxy would connect to itself.
    pub fn for_url(url: &Url, matcher: &Matcher) -> Result<Option<Self>, EndpointError> {
        let uri = url.as_str().parse().map_err(|_| EndpointError::Malformed)?;
        if url.scheme() != "https" || is_this_machine(url) {
            return Ok(None);
        }
        let Some(intercept) = matcher.intercept(&uri) else { return Ok(None) };
        if !matches!(intercept.uri().scheme_str(), Some("http" | "https")) {
            return Err(EndpointError::Proxy);
        }
        Ok(Some(Self(intercept)))
    }

    pub fn for_client(&self) -> Result<reqwest::Proxy, HttpError> {
        let invalid = |error: reqwest::Error| HttpError::Proxy {
            proxy: self.to_string(),
            cause: error.without_url().to_string(),
        };
        let proxy = reqwest::Proxy::all(self.0.uri().to_string()).map_err(invalid)?;
        Ok(match self.0.basic_auth() {
            Some(credentials) => proxy.custom_http_auth(credentials.clone()),
            None => proxy,
        })
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Proxy {
    /// Without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.uri().to_string().trim_end_matches('/'))
    }
}
