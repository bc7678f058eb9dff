//! Where the agent connects for the app. It is decided on the address that is dialled, not on the name that was
//! asked for, which may resolve to another address the next time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::proxy::own_listeners::OwnListeners;

/// Services for the machine itself, outside of the link-local networks: metadata of Alibaba, Azure's host, and metadata
/// of Oracle, AWS and Google.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// The flags of the forward proxy: what it connects to although it would not, and what it does not connect to.
#[derive(Clone, Debug, Default)]
pub struct ProxyPolicy {
    pub allow: Vec<DestinationPattern>,
    pub deny: Vec<DestinationPattern>,
}

/// An address or a network, or a host with all names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationPattern {
    Network(IpNet),
    Host(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address, a network such as 10.20.0.0/16, or a host such as shop.svc, which stands for all names below it too"
)]
pub struct DestinationPatternError(String);

/// Decides for a fixed route, or for the forward proxy.
#[derive(Clone)]
pub struct Destinations {
    own: Arc<OwnListeners>,
    /// Of the forward proxy. A fixed route goes where the administrator wrote.
    policy: Option<Arc<ProxyPolicy>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0} is this agent's own listener of {1}")]
    OwnListener(SocketAddr, &'static str),
    #[error("{0} is {1}, which the forward proxy does not connect to unless --http-proxy-allow has it")]
    Special(IpAddr, &'static str),
    #[error("{0} is denied by --http-proxy-deny {1}")]
    Denied(IpAddr, DestinationPattern),
}

impl Destinations {
    pub fn of_fixed_route(own: Arc<OwnListeners>) -> Self {
        Self { own, policy: None }
    }

    pub fn of_proxy(own: Arc<OwnListeners>, policy: ProxyPolicy) -> Self {
        Self { own, policy: Some(Arc::new(policy)) }
    }

    /// Whether destinations are named by requests, which must not learn more than that one cannot be reached.
    pub fn are_named_by_requests(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether `host` may be reached at this address of it.
    pub fn check(&self, host: &str, address: SocketAddr) -> Result<(), Refusal> {
        // Nothing there speaks mTLS for an app, whatever was allowed.
        if let Some(flag) = self.own.looped_at(address) {
            return Err(Refusal::OwnListener(address, flag));
        }
        self.policy.as_ref().map_or(Ok(()), |policy| policy.check(host, address.ip().to_canonical()))
    }
}

impl ProxyPolicy {
    fn check(&self, host: &str, ip: IpAddr) -> Result<(), Refusal> {
        let matches = |pattern: &&DestinationPattern| pattern.matches(host, ip);
        if self.allow.iter().any(|pattern| matches(&pattern)) {
            return Ok(());
        }
        if let Some(pattern) = self.deny.iter().find(matches) {
            return Err(Refusal::Denied(ip, pattern.clone()));
        }
        special(ip).map_or(Ok(()), |kind| Err(Refusal::Special(ip, kind)))
    }
}

impl DestinationPattern {
    fn matches(&self, host: &str, ip: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(&ip),
            Self::Host(suffix) => {
                let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
                let Some(start) = host.len().checked_sub(suffix.len()) else { return false };
                host[start..].eq_ignore_ascii_case(suffix.as_bytes())
                    && (start == 0 || host[start - 1] == b'.')
            }
        }
    }
}

impl FromStr for DestinationPattern {
    type Err = DestinationPatternError;

    fn from_str(text: &str) -> Result<Self, DestinationPatternError> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Network(ip.to_canonical().into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let host = text.strip_prefix('*').unwrap_or(text);
        let host = host.strip_prefix('.').unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A last label of digits is an address that was mistyped.
        let ends_in_number =
            host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        match host.split('.').all(is_label) && !ends_in_number {
            true => Ok(Self::Host(host.to_ascii_lowercase())),
            false => Err(DestinationPatternError(text.into())),
        }
    }
}

impl fmt::Display for DestinationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

/// What an address is that no service of another pod has. Private networks are where those are.
fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip {
        _ if ip.octets()[0] == 0 => Some("an unspecified address"),
        _ if ip.is_loopback() => Some("a loopback address"),
        _ if ip.is_link_local() => Some("a link-local address"),
        _ if ip.is_multicast() || ip.is_broadcast() => Some("a multicast address"),
        _ if METADATA_V4.contains(&ip) => Some("a metadata service"),
        _ => None,
    }
}

/// An address that has an IPv4 address in it is treated like that one.
fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        _ if ip.is_unspecified() => Some("an unspecified address"),
        _ if ip.is_loopback() => Some("a loopback address"),
        _ if ip.is_unicast_link_local() => Some("a link-local address"),
        _ if ip.is_multicast() => Some("a multicast address"),
        _ if METADATA_V6.contains(&ip) => Some("a metadata service"),
        // IPv4-mapped, IPv4-compatible, NAT64 and 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => special_v4(embedded(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
