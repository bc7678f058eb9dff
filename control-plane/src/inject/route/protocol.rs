//! What a route carries, as the prefix of the route says.

use std::fmt;

/// What is often written in place of a prefix: names of ports and schemes of URLs.
const MISTAKEN: [&str; 11] =
    ["alpn", "grpc", "grpcs", "h2", "http1", "http2", "https", "tcp", "tls", "ws", "wss"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteProtocol {
    /// Bytes, of any protocol. `alpn`: what TLS negotiates for it, preferred first; empty for no negotiation.
    Tcp { alpn: Vec<String> },
    /// HTTP requests. To an app they are sent as HTTP/1.1.
    Http,
    /// HTTP requests, to an app that speaks HTTP/2 with prior knowledge.
    H2c,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("alpn= names no protocol; write it like alpn=h2: or alpn=h2+http/1.1:")]
    NoProtocol,
    #[error("the list after alpn= has no end; write it like alpn=h2: in front of the address")]
    NoEnd,
    #[error("{0:?} is no ALPN protocol name: it is 1 to 255 visible ASCII characters, without a comma")]
    InvalidProtocol(String),
    #[error("{0:?} is in the list twice")]
    DuplicateProtocol(String),
    #[error("unknown prefix {prefix}:; the prefixes are http:, h2c: and alpn=NAME:{}", advice(.prefix, *.direction))]
    Unknown { prefix: String, direction: Direction },
    #[error("h2c: is for hotcert.dev/inbound; write http:, which takes HTTP/2 from the app as well")]
    H2cOutbound,
}

impl RouteProtocol {
    /// The protocol of `[http:|h2c:|alpn=NAME[+NAME…]:]REST`, and the rest.
    pub fn split(route: &str) -> Result<(Self, &str), PrefixError> {
        if let Some(rest) = route.strip_prefix("http:") {
            return Ok((Self::Http, rest));
        }
        if let Some(rest) = route.strip_prefix("h2c:") {
            return Ok((Self::H2c, rest));
        }
        let Some(list) = route.strip_prefix("alpn=") else {
            return Ok((Self::Tcp { alpn: Vec::new() }, route));
        };
        let (list, rest) = list.split_once(':').ok_or(PrefixError::NoEnd)?;
        Ok((Self::Tcp { alpn: parse_alpn(list)? }, rest))
    }

    pub fn is_http(&self) -> bool {
        !matches!(self, Self::Tcp { .. })
    }

    /// Whether a gRPC client, which insists on HTTP/2, reaches a gRPC server behind an inbound route of this protocol.
    pub fn carries_grpc(&self) -> bool {
        match self {
            Self::Tcp { alpn } => alpn.iter().any(|name| name == "h2"),
            Self::Http => false,
            Self::H2c => true,
        }
    }
}

/// The prefix of a route, known or mistaken, and the rest. The prefix is empty if there is none.
pub fn split_prefix(route: &str) -> (&str, &str) {
    let end = route.find(':').map_or(0, |colon| colon + 1);
    let (prefix, rest) = route.split_at(end);
    let word = prefix.trim_end_matches(':');
    match ["http", "h2c"].contains(&word) || word.starts_with("alpn=") || MISTAKEN.contains(&word) {
        true => (prefix, rest),
        false => ("", route),
    }
}

fn parse_alpn(list: &str) -> Result<Vec<String>, PrefixError> {
    if list.is_empty() {
        return Err(PrefixError::NoProtocol);
    }
    let mut alpn: Vec<String> = Vec::new();
    for name in list.split('+') {
        if !(1..=255).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PrefixError::InvalidProtocol(name.into()));
        }
        if alpn.iter().any(|known| known == name) {
            return Err(PrefixError::DuplicateProtocol(name.into()));
        }
        alpn.push(name.into());
    }
    Ok(alpn)
}

/// Which of the prefixes to write in place of another word.
fn advice(prefix: &str, direction: Direction) -> &'static str {
    match (prefix, direction) {
        ("grpc" | "grpcs" | "h2" | "http2", Direction::Inbound) => "; for gRPC write h2c:",
        ("grpc" | "grpcs" | "h2" | "http2", Direction::Outbound) => "; for gRPC write http:",
        ("http1" | "https" | "ws" | "wss", _) => "; write http:, the agent adds TLS",
        ("tcp" | "tls", _) => "; for TCP write none, the agent adds TLS",
        _ => "",
    }
}

/// As the prefix of a route.
impl fmt::Display for RouteProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { alpn } if alpn.is_empty() => Ok(()),
            Self::Tcp { alpn } => write!(f, "alpn={}:", alpn.join("+")),
            Self::Http => f.write_str("http:"),
            Self::H2c => f.write_str("h2c:"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes_are_displayed_as_they_are_parsed() {
        for prefix in ["", "http:", "h2c:", "alpn=postgresql:", "alpn=h2+http/1.1:"] {
            let route = format!("{prefix}8443=8080");
            let (protocol, rest) = RouteProtocol::split(&route).unwrap();
            assert_eq!((protocol.to_string().as_str(), rest), (prefix, "8443=8080"));
            assert_eq!(split_prefix(&route), (prefix, "8443=8080"));
        }
        for route in ["[::]:8443=8080", "0.0.0.0:8443=8080", "app:8443=8080", "8443"] {
            assert_eq!(split_prefix(route), ("", route), "no prefix");
        }
        assert_eq!(split_prefix("grpc:8443=8080"), ("grpc:", "8443=8080"));
    }

    #[test]
    fn malformed_lists_are_refused() {
        let error = |route| RouteProtocol::split(route).unwrap_err();
        assert_eq!(error("alpn=:1"), PrefixError::NoProtocol);
        assert_eq!(error("alpn=h2"), PrefixError::NoEnd);
        assert_eq!(error("alpn=h2+:1"), PrefixError::InvalidProtocol(String::new()));
        assert_eq!(error("alpn=a b:1"), PrefixError::InvalidProtocol("a b".into()));
        assert_eq!(error("alpn=h2+h2:1"), PrefixError::DuplicateProtocol("h2".into()));
    }

    #[test]
    fn routes_that_carry_grpc_are_known() {
        for (prefix, carries) in [
            ("", false),
            ("http:", false),
            ("alpn=postgresql:", false),
            ("alpn=http/1.1+h2:", true),
            ("h2c:", true),
        ] {
            assert_eq!(RouteProtocol::split(prefix).unwrap().0.carries_grpc(), carries, "{prefix}");
        }
    }
}
