//! An outbound route as written on the command line: where the app connects, and which server that is.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::proxy::address;
use crate::proxy::route_protocol::RouteProtocol;
use hotcert_tls::{ExpectedPeer, ExpectedPeerError};

/// The port of `http://host/…`, since the server speaks TLS.
pub const DEFAULT_PORT: u16 = 443;

/// A server and the name that it must present.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// DNS name or IP address, without brackets.
    pub host: String,
    pub port: u16,
    pub expected: ExpectedPeer,
}

impl Upstream {
    /// The server that presents the name by which it is reached.
    pub fn named(host: &str, port: u16) -> Result<Self, OutboundRouteError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let expected = host.parse().map_err(|error: ExpectedPeerError| OutboundRouteError {
            route: format!("{host}:{port}"),
            cause: error.to_string(),
        })?;
        Ok(Self { host, port, expected })
    }

    /// `host:port` as in a URI.
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

/// `[http:|alpn=NAME[+NAME…]:]LISTEN=HOST:PORT[#SAN]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRoute {
    /// Never H2c: what comes from the app decides, and the server by ALPN.
    pub protocol: RouteProtocol,
    pub listen: SocketAddr,
    pub upstream: Upstream,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route:?}: {cause}")]
pub struct OutboundRouteError {
    route: String,
    cause: String,
}

impl FromStr for OutboundRoute {
    type Err = OutboundRouteError;

    fn from_str(text: &str) -> Result<Self, OutboundRouteError> {
        let refuse = |cause: String| OutboundRouteError { route: text.into(), cause };
        let (protocol, rest) = RouteProtocol::split(text).map_err(|error| refuse(error.to_string()))?;
        if protocol == RouteProtocol::H2c {
            return Err(refuse(
                "h2c: is for --inbound; write http:, which takes HTTP/2 from the app as well".into(),
            ));
        }
        let (listen, to) = rest.split_once('=').ok_or_else(|| {
            refuse("`=` is missing; write [http:|alpn=NAME:]127.0.0.1:PORT=HOST:PORT[#SAN]".into())
        })?;
        let listen =
            address::parse(listen, Ipv4Addr::LOCALHOST.into()).map_err(|error| refuse(error.to_string()))?;
        if !listen.ip().is_loopback() {
            return Err(refuse(format!(
                "{listen} is not a loopback address: other pods could use this pod's identity through it; use 127.0.0.1 or [::1]"
            )));
        }
        let (address, name) = to.split_once('#').map_or((to, None), |(address, name)| (address, Some(name)));
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| refuse(format!("the server {address:?} has no port; write HOST:PORT")))?;
        let port = port
            .parse()
            .map_err(|_| refuse(format!("the server's port {port:?} is not a number up to 65535")))?;
        let mut upstream = match name {
            None => Upstream::named(host, port).map_err(|error| refuse(error.cause))?,
            Some(name) => Upstream {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port,
                expected: name.parse().map_err(|error: ExpectedPeerError| refuse(error.to_string()))?,
            },
        };
        if upstream.host.is_empty() {
            return Err(refuse("the server's host is empty; write HOST:PORT".into()));
        }
        upstream.host.make_ascii_lowercase();
        Ok(Self { protocol, listen, upstream })
    }
}

impl fmt::Display for OutboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.protocol, self.listen, self.upstream)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn expected_name_is_the_host_unless_given() {
        let route: OutboundRoute = "127.0.0.1:9001=payments.shop.svc:8443".parse().unwrap();
        assert_eq!(route.to_string(), "127.0.0.1:9001=payments.shop.svc:8443#payments.shop.svc");
        let route: OutboundRoute =
            "http:[::1]:9001=[fd00::1]:8443#spiffe://shop/ns/shop/sa/payments".parse().unwrap();
        assert_eq!(route.protocol, RouteProtocol::Http);
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
            "h2c:127.0.0.1:1=host:1",
            "alpn=h2+h2:127.0.0.1:1=host:1",
        ] {
            assert!(matches!(bad.parse::<OutboundRoute>(), Err(OutboundRouteError { .. })), "{bad}");
        }
    }
}
