//! Socket addresses as written on the command line, and what is wrong with one that cannot be parsed.

use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{text:?} is not ADDRESS:PORT; did you mean {suggestion}?")]
    NoAddress { text: String, suggestion: String },
    #[error("{text:?} has no port; write it like {suggestion}")]
    NoPort { text: String, suggestion: String },
    #[error("port {port} is above 65535")]
    PortTooLarge { port: String },
    #[error("unknown prefix {prefix}:; the prefixes are http:, h2c: and alpn=NAME:")]
    UnknownPrefix { prefix: String },
    #[error("{host:?} is a host name; write an IP address, such as {suggestion}")]
    HostName { host: String, suggestion: String },
    #[error("{text:?} is not ADDRESS:PORT; write it like {suggestion}")]
    Malformed { text: String, suggestion: String },
}

/// Parses `ADDRESS:PORT`. `default` is the address that is suggested where one is missing.
pub fn parse(text: &str, default: IpAddr) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let suggest = |port: u16| SocketAddr::new(default, port).to_string();
    let text = text.to_owned();
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(AddressError::NoPort { suggestion: SocketAddr::new(ip, 8443).to_string(), text });
    }
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Err(AddressError::NoAddress { suggestion: suggest(port), text });
    }
    if let Some((prefix, rest)) = text.split_once(':')
        && rest.parse::<SocketAddr>().is_ok()
    {
        return Err(AddressError::UnknownPrefix { prefix: prefix.into() });
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", &text));
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err() {
        return Err(AddressError::PortTooLarge { port: port.into() });
    }
    match port.parse() {
        Ok(port) if is_host_name(host) => {
            Err(AddressError::HostName { host: host.into(), suggestion: suggest(port) })
        }
        _ => Err(AddressError::Malformed { suggestion: suggest(8443), text }),
    }
}

fn is_host_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_mistake_is_named_with_what_to_write() {
        for (text, expected) in [
            ("8443", "\"8443\" is not ADDRESS:PORT; did you mean 0.0.0.0:8443?"),
            (":8443", "\":8443\" is not ADDRESS:PORT; did you mean 0.0.0.0:8443?"),
            ("0.0.0.0", "\"0.0.0.0\" has no port; write it like 0.0.0.0:8443"),
            ("::1", "\"::1\" has no port; write it like [::1]:8443"),
            ("0.0.0.0:99999", "port 99999 is above 65535"),
            ("99999", "port 99999 is above 65535"),
            ("https:0.0.0.0:8443", "unknown prefix https:; the prefixes are http:, h2c: and alpn=NAME:"),
            ("app:8080", "\"app\" is a host name; write an IP address, such as 0.0.0.0:8080"),
            ("", "\"\" is not ADDRESS:PORT; write it like 0.0.0.0:8443"),
            ("a b:80", "\"a b:80\" is not ADDRESS:PORT; write it like 0.0.0.0:8443"),
        ] {
            let error = parse(text, Ipv4Addr::UNSPECIFIED.into()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(parse("[::]:1", Ipv4Addr::LOCALHOST.into()), Ok("[::]:1".parse().unwrap()));
    }
}
