//! Socket addresses as written in annotations, and what is wrong with one that cannot be parsed.

use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{text:?} is not ADDRESS:PORT; did you mean {suggestion}?")]
    NoAddress { text: String, suggestion: SocketAddr },
    #[error("{text:?} has no port; write it like {suggestion}")]
    NoPort { text: String, suggestion: SocketAddr },
    #[error("port {0} is above 65535")]
    PortTooLarge(String),
    #[error("unknown prefix {0}:; write ADDRESS:PORT")]
    UnknownPrefix(String),
    #[error("{host:?} is a host name; write an IP address, such as {suggestion}")]
    HostName { host: String, suggestion: SocketAddr },
    #[error("{text:?} is not ADDRESS:PORT; write it like {suggestion}")]
    Malformed { text: String, suggestion: SocketAddr },
}

/// Parses `ADDRESS:PORT`. `default` is the address that is suggested where one is missing.
pub fn parse(text: &str, default: IpAddr) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let suggest = |port: u16| SocketAddr::new(default, port);
    let text = text.to_owned();
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(AddressError::NoPort { suggestion: SocketAddr::new(ip, 8443), text });
    }
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Err(AddressError::NoAddress { suggestion: suggest(port), text });
    }
    if let Some((prefix, rest)) = text.split_once(':')
        && rest.parse::<SocketAddr>().is_ok()
    {
        return Err(AddressError::UnknownPrefix(prefix.into()));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", &text));
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err() {
        return Err(AddressError::PortTooLarge(port.into()));
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
