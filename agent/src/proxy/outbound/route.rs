//! Where an outbound listener leads, as written on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::tls::config::{ExpectedServer, ExpectedServerError};

/// The port of `http://host/…`: the other end speaks TLS.
pub const DEFAULT_PORT: u16 = 443;

/// A server and the name it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// DNS name or IP address, without brackets.
    pub host: String,
    pub port: u16,
    pub expected: ExpectedServer,
}

impl Upstream {
    /// The server that shows the very name it is reached by.
    pub fn named(host: &str, port: u16) -> Result<Self, OutboundRouteError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let expected = host.parse().map_err(|error: ExpectedServerError| OutboundRouteError {
            route: format!("{host}:{port}"),
            cause: error.to_string(),
        })?;
        Ok(Self { host, port, expected })
    }

    /// `host:port` as it stands in a URI.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.authority(), self.expected)
    }
}

/// `[http:]LISTEN=HOST:PORT[#SAN]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRoute {
    pub http: bool,
    pub listen: SocketAddr,
    pub upstream: Upstream,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route:?}: {cause}; write [http:]127.0.0.1:PORT=HOST:PORT[#SAN]")]
pub struct OutboundRouteError {
    route: String,
    cause: String,
}

impl FromStr for OutboundRoute {
    type Err = OutboundRouteError;

    fn from_str(text: &str) -> Result<Self, OutboundRouteError> {
        let refuse = |cause: String| OutboundRouteError { route: text.into(), cause };
        let (http, rest) = text.strip_prefix("http:").map_or((false, text), |rest| (true, rest));
        let (listen, to) = rest.split_once('=').ok_or_else(|| refuse("there is no `=`".into()))?;
        let listen: SocketAddr = listen
            .parse()
            .map_err(|_| refuse(format!("{listen:?} is no ADDRESS:PORT (an IP address, not a host name)")))?;
        if !listen.ip().is_loopback() {
            return Err(refuse(format!(
                "{listen} is not a loopback address: whoever reached it would speak with this pod's identity"
            )));
        }
        let (address, name) = to.split_once('#').map_or((to, None), |(address, name)| (address, Some(name)));
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| refuse(format!("{address:?} has no port")))?;
        let port = port.parse().map_err(|_| refuse(format!("{port:?} is no port")))?;
        let mut upstream = match name {
            None => Upstream::named(host, port).map_err(|error| refuse(error.cause))?,
            Some(name) => Upstream {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port,
                expected: name.parse().map_err(|error: ExpectedServerError| refuse(error.to_string()))?,
            },
        };
        if upstream.host.is_empty() {
            return Err(refuse("the host is empty".into()));
        }
        upstream.host.make_ascii_lowercase();
        Ok(Self { http, listen, upstream })
    }
}

impl fmt::Display for OutboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.http { "http:" } else { "" };
        write!(f, "{mode}{}={}", self.listen, self.upstream)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_name_to_show_is_the_host_unless_said_otherwise() {
        let route: OutboundRoute = "127.0.0.1:9001=payments.shop.svc:8443".parse().unwrap();
        assert_eq!(route.to_string(), "127.0.0.1:9001=payments.shop.svc:8443#payments.shop.svc");
        let route: OutboundRoute =
            "http:[::1]:9001=[fd00::1]:8443#spiffe://shop/ns/shop/sa/payments".parse().unwrap();
        assert!(route.http);
        assert_eq!(route.upstream.host, "fd00::1");
        assert_eq!(route.to_string(), "http:[::1]:9001=[fd00::1]:8443#spiffe://shop/ns/shop/sa/payments");
    }

    #[test]
    fn malformed_routes_are_refused() {
        for bad in [
            "127.0.0.1:1",
            "127.0.0.1:1=host",
            "127.0.0.1:1=:1",
            "0.0.0.0:1=host:1",
            "127.0.0.1:1=host:99999",
            "127.0.0.1:1=host:1#a b",
        ] {
            assert!(matches!(bad.parse::<OutboundRoute>(), Err(OutboundRouteError { .. })), "{bad}");
        }
    }
}
