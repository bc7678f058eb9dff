//! The routes that annotations ask for, and the arguments of the agent that they become. What the agent would
//! refuse is refused here, in the same words.

mod protocol;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use hotcert_tls::{ExpectedPeer, ExpectedPeerError};
use rustls_pki_types::DnsName;

use super::address::{self, AddressError};
use protocol::{Direction, PrefixError};
pub use protocol::{RouteProtocol, split_prefix};

/// After the app's address: the agent introduces each client to it.
const PROXY_V2: &str = "proxy-v2";
/// In the list of names after `#`: what is sent as SNI in place of the host.
const SNI: &str = "sni:";

/// `[http:|h2c:|alpn=NAME[+NAME…]:]LISTEN=APP[#proxy-v2]`: where clients connect, and where the app listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundRoute {
    pub protocol: RouteProtocol,
    pub listen: SocketAddr,
    pub app: SocketAddr,
    /// Bytes to the app begin with a header of PROXY protocol version 2.
    pub proxy_v2: bool,
}

/// `[http:|alpn=NAME[+NAME…]:]LISTEN=HOST:PORT[#[sni:NAME+]SAN[+SAN…]]`: where the app connects, and which server that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRoute {
    /// Never H2c: what comes from the app decides, and the server by ALPN.
    pub protocol: RouteProtocol,
    pub listen: SocketAddr,
    /// DNS name or IP address of the server, without brackets.
    pub host: String,
    pub port: u16,
    /// What is sent as SNI in place of the host.
    pub sni: Option<DnsName<'static>>,
    /// The names of which the server must show one.
    pub expected: ExpectedPeer,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route:?}: {cause}")]
pub struct RouteError {
    pub route: String,
    pub cause: RouteCause,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteCause {
    #[error("`=` is missing; write [http:|h2c:|alpn=NAME:]ADDRESS:PORT=ADDRESS:PORT, or =unix:/PATH")]
    NoApp,
    #[error("`=` is missing; write [http:|alpn=NAME:]127.0.0.1:PORT=HOST:PORT[#SAN]")]
    NoServer,
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error(transparent)]
    Listen(AddressError),
    #[error("the app's address: {0}")]
    App(AddressError),
    #[error("#{0} is not an option of a route; the option is #{PROXY_V2}")]
    UnknownOption(String),
    #[error(
        "#{PROXY_V2} is for routes that carry bytes; an app behind http: or h2c: reads X-Forwarded-Client-Cert"
    )]
    ProxyV2OfHttp,
    #[error("the app's address: \"{0}\" is not an absolute path; write unix:/PATH")]
    RelativePath(String),
    #[error(
        "the agent's container has no access to Unix sockets of the app: let the app listen on a port of 127.0.0.1"
    )]
    UnixSocket,
    #[error(
        "{0} is not a loopback address: other pods could use this pod's identity through it; use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    #[error("the server {0:?} has no port; write HOST:PORT")]
    NoServerPort(String),
    #[error("the server's port {0:?} is not a number up to 65535")]
    MalformedPort(String),
    #[error("the server's host is empty; write HOST:PORT")]
    NoHost,
    #[error("sni: is in the list twice")]
    SniTwice,
    #[error("{0:?} after sni: is not a DNS name")]
    MalformedSni(String),
    #[error(transparent)]
    Name(#[from] ExpectedPeerError),
}

impl FromStr for InboundRoute {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        parse_inbound(text).map_err(|cause| RouteError { route: text.into(), cause })
    }
}

fn parse_inbound(text: &str) -> Result<InboundRoute, RouteCause> {
    let (protocol, rest) = RouteProtocol::split(text)?;
    let (listen, app) = rest.split_once('=').ok_or(RouteCause::NoApp)?;
    let listen = address::parse(listen, Ipv6Addr::UNSPECIFIED.into())
        .map_err(|error| listen_error(error, Direction::Inbound))?;
    match app.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => return Err(RouteCause::UnixSocket),
        Some(path) => return Err(RouteCause::RelativePath(path.into())),
        None => {}
    }
    let (app, proxy_v2) = match app.split_once('#') {
        Some((_, PROXY_V2)) if protocol.is_http() => return Err(RouteCause::ProxyV2OfHttp),
        Some((app, PROXY_V2)) => (app, true),
        Some((_, option)) => return Err(RouteCause::UnknownOption(option.into())),
        None => (app, false),
    };
    let app = address::parse(app, Ipv4Addr::LOCALHOST.into()).map_err(RouteCause::App)?;
    Ok(InboundRoute { protocol, listen, app, proxy_v2 })
}

fn listen_error(error: AddressError, direction: Direction) -> RouteCause {
    match error {
        AddressError::UnknownPrefix(prefix) => PrefixError::Unknown { prefix, direction }.into(),
        error => RouteCause::Listen(error),
    }
}

impl InboundRoute {
    fn option(&self) -> String {
        if self.proxy_v2 { format!("#{PROXY_V2}") } else { String::new() }
    }

    /// As an annotation has it: without the addresses that are its defaults.
    pub fn short(&self) -> String {
        let short = |address: SocketAddr, default: IpAddr| match address.ip() == default {
            true => address.port().to_string(),
            false => address.to_string(),
        };
        let (listen, app) =
            (short(self.listen, Ipv6Addr::UNSPECIFIED.into()), short(self.app, Ipv4Addr::LOCALHOST.into()));
        format!("{}{listen}={app}{}", self.protocol, self.option())
    }
}

impl fmt::Display for InboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}{}", self.protocol, self.listen, self.app, self.option())
    }
}

impl FromStr for OutboundRoute {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        parse_outbound(text).map_err(|cause| RouteError { route: text.into(), cause })
    }
}

fn parse_outbound(text: &str) -> Result<OutboundRoute, RouteCause> {
    let (protocol, rest) = RouteProtocol::split(text)?;
    if protocol == RouteProtocol::H2c {
        return Err(PrefixError::H2cOutbound.into());
    }
    let (listen, server) = rest.split_once('=').ok_or(RouteCause::NoServer)?;
    let listen = address::parse(listen, Ipv4Addr::LOCALHOST.into())
        .map_err(|error| listen_error(error, Direction::Outbound))?;
    if !listen.ip().is_loopback() {
        return Err(RouteCause::NotLoopback(listen));
    }
    let (address, names) =
        server.split_once('#').map_or((server, None), |(address, names)| (address, Some(names)));
    let (host, port) =
        address.rsplit_once(':').ok_or_else(|| RouteCause::NoServerPort(address.to_owned()))?;
    let port = port.parse().map_err(|_| RouteCause::MalformedPort(port.to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (sni, expected) = names.map_or(Ok((None, None)), split_names)?;
    let expected = expected.as_deref().unwrap_or(host).parse()?;
    if host.is_empty() {
        return Err(RouteCause::NoHost);
    }
    Ok(OutboundRoute { protocol, listen, host: host.to_ascii_lowercase(), port, sni, expected })
}

/// The name for the SNI, and the expected names, if the list has any.
fn split_names(list: &str) -> Result<(Option<DnsName<'static>>, Option<String>), RouteCause> {
    let (sni, expected): (Vec<&str>, Vec<&str>) = list.split('+').partition(|name| name.starts_with(SNI));
    let sni = match sni.as_slice() {
        [] => None,
        [name] => {
            let name = name[SNI.len()..].to_ascii_lowercase();
            Some(DnsName::try_from(name.clone()).map_err(|_| RouteCause::MalformedSni(name))?)
        }
        _ => return Err(RouteCause::SniTwice),
    };
    Ok((sni, (!expected.is_empty()).then(|| expected.join("+"))))
}

impl fmt::Display for OutboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, listen, host, port, sni, expected } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{protocol}{listen}={open}{host}{close}:{port}#")?;
        if let Some(name) = sni {
            write!(f, "{SNI}{}+", name.as_ref())?;
        }
        expected.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn routes_are_displayed_as_the_agent_parses_them() {
        for (text, shown) in [
            ("127.0.0.1:1=Payments.shop.svc:8443", "127.0.0.1:1=payments.shop.svc:8443#Payments.shop.svc"),
            ("http:[::1]:1=[fd00::1]:8443", "http:[::1]:1=[fd00::1]:8443#fd00::1"),
            ("127.0.0.1:1=a:2#spiffe://shop/ns/a/sa/b", "127.0.0.1:1=a:2#spiffe://shop/ns/a/sa/b"),
            ("alpn=postgresql:127.0.0.1:1=a:2#a", "alpn=postgresql:127.0.0.1:1=a:2#a"),
        ] {
            assert_eq!(text.parse::<OutboundRoute>().unwrap().to_string(), shown);
        }
        for text in [
            "0.0.0.0:8443=127.0.0.1:8080",
            "http:[::]:8443=127.0.0.1:8080",
            "h2c:[::]:8443=127.0.0.1:8080",
            "alpn=h2+http/1.1:[::]:8443=127.0.0.1:8080",
            "alpn=h2+http/1.1:[::]:8443=127.0.0.1:8080#proxy-v2",
        ] {
            assert_eq!(text.parse::<InboundRoute>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_routes_are_refused_with_what_to_write() {
        for (text, expected) in [
            ("0.0.0.0:1", "`=` is missing; write [http:|h2c:|alpn=NAME:]ADDRESS:PORT=ADDRESS:PORT"),
            ("8443=127.0.0.1:80", "\"8443\" is not ADDRESS:PORT; did you mean [::]:8443?"),
            ("0.0.0.0=127.0.0.1:80", "\"0.0.0.0\" has no port; write it like 0.0.0.0:8443"),
            ("0.0.0.0:99999=127.0.0.1:80", "port 99999 is above 65535"),
            (
                "https:0.0.0.0:1=127.0.0.1:1",
                "unknown prefix https:; the prefixes are http:, h2c: and alpn=NAME:; write http:",
            ),
            ("grpc:0.0.0.0:1=127.0.0.1:1", "and alpn=NAME:; for gRPC write h2c:"),
            ("tcp:0.0.0.0:1=127.0.0.1:1", "and alpn=NAME:; for TCP write none"),
            (
                "alpn:0.0.0.0:1=127.0.0.1:1",
                "unknown prefix alpn:; the prefixes are http:, h2c: and alpn=NAME:",
            ),
            ("alpn=:0.0.0.0:1=127.0.0.1:1", "alpn= names no protocol"),
            ("0.0.0.0:1=http:127.0.0.1:1", "the app's address: unknown prefix http:; write ADDRESS:PORT"),
            (
                "0.0.0.0:1=app:80",
                "the app's address: \"app\" is a host name; write an IP address, such as 127.0.0.1:80",
            ),
            ("0.0.0.0:1=app", "the app's address: \"app\" is not ADDRESS:PORT; write it like 127.0.0.1:8443"),
            ("0.0.0.0:1=unix:app", "the app's address: \"app\" is not an absolute path; write unix:/PATH"),
            ("0.0.0.0:1=unix:/app", "no access to Unix sockets of the app"),
        ] {
            let error = text.parse::<InboundRoute>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (text, expected) in [
            ("127.0.0.1:1", "`=` is missing; write [http:|alpn=NAME:]127.0.0.1:PORT=HOST:PORT[#SAN]"),
            ("h2c:127.0.0.1:1=a:1", "h2c: is for hotcert.dev/inbound; write http:"),
            ("grpc:127.0.0.1:1=a:1", "and alpn=NAME:; for gRPC write http:"),
            ("alpn=h2+h2:127.0.0.1:1=a:1", "\"h2\" is in the list twice"),
            ("0.0.0.0:1=a:1", "0.0.0.0:1 is not a loopback address"),
            ("127.0.0.1:1=a", "the server \"a\" has no port; write HOST:PORT"),
            ("127.0.0.1:1=a:99999", "the server's port \"99999\" is not a number up to 65535"),
            ("127.0.0.1:1=:1", "\"\" is not a server name"),
            ("127.0.0.1:1=:1#a", "the server's host is empty"),
            ("127.0.0.1:1=a:1#b c", "\"b c\" is not a server name"),
        ] {
            let error = text.parse::<OutboundRoute>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
