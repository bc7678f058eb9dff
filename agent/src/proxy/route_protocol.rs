//! What a route carries, as the prefix of the route says.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteProtocol {
    /// Bytes, of any protocol. `alpn`: what TLS negotiates for it, preferred first; empty for no negotiation.
    Tcp { alpn: Vec<String> },
    /// HTTP requests. To an app they are sent as HTTP/1.1.
    Http,
    /// HTTP requests, to an app that speaks HTTP/2 with prior knowledge.
    H2c,
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
            let route = format!("{prefix}0.0.0.0:1=127.0.0.1:2");
            let (protocol, rest) = RouteProtocol::split(&route).unwrap();
            assert_eq!((protocol.to_string().as_str(), rest), (prefix, "0.0.0.0:1=127.0.0.1:2"));
        }
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
}
