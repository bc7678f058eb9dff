//! An inbound route as written on the command line: where clients connect, and where the app listens.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::proxy::address::{self, AddressError};
use crate::proxy::app_endpoint::{Target, TargetError};
use crate::proxy::route_protocol::{PrefixError, RouteProtocol};

/// After the app's address: the agent introduces each client to it.
const PROXY_V2: &str = "proxy-v2";

/// `[http:|h2c:|alpn=NAME[+NAME…]:]LISTEN=TARGET[#proxy-v2]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundRoute {
    pub protocol: RouteProtocol,
    pub listen: SocketAddr,
    pub target: Target,
    /// Bytes to the app begin with a header of PROXY protocol version 2.
    pub proxy_v2: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route:?}: {cause}")]
pub struct InboundRouteError {
    route: String,
    cause: InboundRouteCause,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InboundRouteCause {
    #[error("`=` is missing; write [http:|h2c:|alpn=NAME:]ADDRESS:PORT=ADDRESS:PORT, or =unix:/PATH")]
    NoTarget,
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error("{0}")]
    Listen(#[from] AddressError),
    #[error("the app's address: {0}")]
    Target(#[from] TargetError),
    #[error("#{0} is not an option of a route; the option is #{PROXY_V2}")]
    UnknownOption(String),
    #[error(
        "#{PROXY_V2} is for routes that carry bytes; an app behind http: or h2c: reads X-Forwarded-Client-Cert"
    )]
    ProxyV2OfHttp,
}

impl FromStr for InboundRoute {
    type Err = InboundRouteError;

    fn from_str(text: &str) -> Result<Self, InboundRouteError> {
        parse(text).map_err(|cause| InboundRouteError { route: text.into(), cause })
    }
}

fn parse(text: &str) -> Result<InboundRoute, InboundRouteCause> {
    let (protocol, rest) = RouteProtocol::split(text)?;
    let (listen, target) = rest.split_once('=').ok_or(InboundRouteCause::NoTarget)?;
    let listen = address::parse(listen, Ipv6Addr::UNSPECIFIED.into())?;
    let (target, option) = split_option(target);
    let proxy_v2 = match option {
        None => false,
        Some(PROXY_V2) if protocol.is_http() => return Err(InboundRouteCause::ProxyV2OfHttp),
        Some(PROXY_V2) => true,
        Some(option) => return Err(InboundRouteCause::UnknownOption(option.into())),
    };
    Ok(InboundRoute { protocol, listen, target: target.parse()?, proxy_v2 })
}

/// The app's address, and what follows `#`, which the path of a Unix socket may have too.
fn split_option(target: &str) -> (&str, Option<&str>) {
    let known = || target.strip_suffix(PROXY_V2)?.strip_suffix('#').map(|path| (path, PROXY_V2));
    let split = if target.starts_with("unix:") { known() } else { target.split_once('#') };
    split.map_or((target, None), |(target, option)| (target, Some(option)))
}

impl fmt::Display for InboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.protocol, self.listen, self.target)?;
        if self.proxy_v2 { write!(f, "#{PROXY_V2}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn routes_are_displayed_as_they_are_parsed() {
        for text in [
            "0.0.0.0:8443=127.0.0.1:8080",
            "http:[::]:8443=unix:/run/app.sock",
            "h2c:0.0.0.0:8443=127.0.0.1:8080",
            "alpn=h2+http/1.1:[::]:8443=127.0.0.1:8080",
            "0.0.0.0:5432=127.0.0.1:5432#proxy-v2",
            "alpn=postgresql:0.0.0.0:5432=[::1]:5432#proxy-v2",
            "0.0.0.0:5432=unix:/run/app.sock#proxy-v2",
            "0.0.0.0:5432=unix:/run/a#b",
        ] {
            assert_eq!(text.parse::<InboundRoute>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_routes_are_refused_with_what_to_write() {
        for (text, expected) in [
            ("8443=127.0.0.1:80", "did you mean [::]:8443?"),
            ("0.0.0.0:8443", "`=` is missing; write [http:|h2c:|alpn=NAME:]ADDRESS:PORT=ADDRESS:PORT"),
            ("0.0.0.0:8443=app", "the app's address: \"app\" is not ADDRESS:PORT; write it like 127.0.0.1:"),
            (
                "0.0.0.0:8443=8080",
                "the app's address: \"8080\" is not ADDRESS:PORT; did you mean 127.0.0.1:8080?",
            ),
            (
                "https:0.0.0.0:1=127.0.0.1:1",
                "unknown prefix https:; the prefixes are http:, h2c: and alpn=NAME:",
            ),
            ("alpn=:0.0.0.0:1=127.0.0.1:1", "alpn= names no protocol"),
            ("0.0.0.0:1=127.0.0.1:1#proxy", "#proxy is not an option of a route; the option is #proxy-v2"),
            ("0.0.0.0:1=127.0.0.1:1#proxy-v2#proxy-v2", "#proxy-v2#proxy-v2 is not an option of a route"),
            ("http:0.0.0.0:1=127.0.0.1:1#proxy-v2", "#proxy-v2 is for routes that carry bytes"),
            ("h2c:0.0.0.0:1=127.0.0.1:1#proxy-v2", "#proxy-v2 is for routes that carry bytes"),
            ("0.0.0.0:1=unix:app", "the app's address: \"app\" is not an absolute path; write unix:/PATH"),
        ] {
            let error = text.parse::<InboundRoute>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
