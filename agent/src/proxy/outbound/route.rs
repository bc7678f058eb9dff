//! An outbound route as written on the command line: where the app connects, and which server that is.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::proxy::address;
use crate::proxy::route_protocol::RouteProtocol;
use hotcert_tls::{ExpectedPeer, ExpectedPeerError};
use rustls::pki_types::DnsName;

/// The port of `http://host/…`, since the server speaks TLS.
pub const DEFAULT_PORT: u16 = 443;

/// In the list of names after `#`: what is sent as SNI in place of the host.
const SNI: &str = "sni:";

/// A server and the names of which it must present one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// DNS name or IP address, without brackets.
    pub host: String,
    pub port: u16,
    /// In place of the host.
    pub sni: Option<DnsName<'static>>,
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
        Ok(Self { host, port, sni: None, expected })
    }

    /// What is sent as SNI, if it is a name.
    pub fn server_name(&self) -> &str {
        self.sni.as_ref().map_or(&self.host, AsRef::as_ref)
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
        write!(f, "{}#", self.authority())?;
        if let Some(name) = &self.sni {
            write!(f, "{SNI}{}+", name.as_ref())?;
        }
        self.expected.fmt(f)
    }
}

/// `[http:|alpn=NAME[+NAME…]:]LISTEN=HOST:PORT[#[sni:NAME+]SAN[+SAN…]]`.
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
        let (address, names) =
            to.split_once('#').map_or((to, None), |(address, names)| (address, Some(names)));
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| refuse(format!("the server {address:?} has no port; write HOST:PORT")))?;
        let port = port
            .parse()
            .map_err(|_| refuse(format!("the server's port {port:?} is not a number up to 65535")))?;
        let (sni, expected) = names.map_or(Ok((None, None)), split_names).map_err(&refuse)?;
        let mut upstream = match expected {
            None => Upstream::named(host, port).map_err(|error| refuse(error.cause))?,
            Some(expected) => Upstream {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port,
                sni: None,
                expected: expected.parse().map_err(|error: ExpectedPeerError| refuse(error.to_string()))?,
            },
        };
        upstream.sni = sni;
        if upstream.host.is_empty() {
            return Err(refuse("the server's host is empty; write HOST:PORT".into()));
        }
        upstream.host.make_ascii_lowercase();
        Ok(Self { protocol, listen, upstream })
    }
}

/// The name for the SNI, and the expected names, if the list has any.
fn split_names(list: &str) -> Result<(Option<DnsName<'static>>, Option<String>), String> {
    let (sni, expected): (Vec<&str>, Vec<&str>) = list.split('+').partition(|name| name.starts_with(SNI));
    let sni = match sni.as_slice() {
        [] => None,
        [name] => Some(parse_sni(&name[SNI.len()..])?),
        _ => return Err("sni: is in the list twice".into()),
    };
    Ok((sni, (!expected.is_empty()).then(|| expected.join("+"))))
}

fn parse_sni(name: &str) -> Result<DnsName<'static>, String> {
    let name = name.to_ascii_lowercase();
    DnsName::try_from(name.clone()).map_err(|_| format!("{name:?} after sni: is not a DNS name"))
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
    fn sni_and_expected_names_are_apart() {
        for (names, server_name, expected) in [
            ("", "a.test", "a.test"),
            ("#b.test", "a.test", "b.test"),
            ("#dns:b.test", "a.test", "b.test"),
            ("#spiffe://d/b", "a.test", "spiffe://d/b"),
            ("#SPIFFE://D/b", "a.test", "spiffe://d/b"),
            ("#dns:b.test+spiffe://d/b", "a.test", "b.test+spiffe://d/b"),
            ("#sni:C.test", "c.test", "a.test"),
            ("#sni:c.test+dns:b.test", "c.test", "b.test"),
            ("#dns:b.test+sni:c.test+ip:10.0.0.1", "c.test", "b.test+10.0.0.1"),
        ] {
            let route: OutboundRoute = format!("127.0.0.1:9001=a.test:8443{names}").parse().unwrap();
            let upstream = &route.upstream;
            assert_eq!(
                (upstream.server_name(), upstream.expected.to_string().as_str()),
                (server_name, expected)
            );
            // As it is displayed, it is the same route.
            assert_eq!(route.to_string().parse::<OutboundRoute>().unwrap(), route);
        }
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
            "127.0.0.1:1=host:1#",
            "127.0.0.1:1=host:1#a+",
            "127.0.0.1:1=host:1#sni:a+",
            "127.0.0.1:1=host:1#sni:",
            "127.0.0.1:1=host:1#sni:10.0.0.1",
            "127.0.0.1:1=host:1#sni:a+sni:b",
            "127.0.0.1:1=host:1#spiffe://d",
            "127.0.0.1:1=host:1#spiffe://d/a/",
            "h2c:127.0.0.1:1=host:1",
            "alpn=h2+h2:127.0.0.1:1=host:1",
        ] {
            assert!(matches!(bad.parse::<OutboundRoute>(), Err(OutboundRouteError { .. })), "{bad}");
        }
    }
}
