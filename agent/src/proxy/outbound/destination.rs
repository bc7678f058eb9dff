//! Where the agent connects for the app. What a name says is decided before it is looked up. All else is decided on the
//! address that is dialled, since a name may resolve to another address the next time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::proxy::own_listeners::OwnListeners;

/// Services for the machine itself, outside of the link-local networks: metadata of Alibaba, Azure's host, and metadata
/// of Oracle, AWS and Google.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// IPv4 in IPv6: `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// The flags of the forward proxy: what it connects to although it would not, and what it does not connect to. Of the
/// patterns that match, the most specific decides: a host before a network, the longer name, the longer prefix; and of
/// two that are the same, the denial.
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
pub enum DestinationPatternError {
    #[error(
        "{0:?} is not an address, a network such as 10.20.0.0/16, or a host such as shop.svc, which stands for all names below it too"
    )]
    Malformed(String),
    #[error(
        "{0:?} is an address with the length of a prefix: write {network} for the network, or {address} for this address alone",
        network = .1.trunc(),
        address = .1.addr()
    )]
    HostBits(String, IpNet),
}

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
    Denied(String, DestinationPattern),
}

/// What the flags say of a destination, if they say anything.
enum Decision<'a> {
    Allowed,
    Denied(&'a DestinationPattern),
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

    /// Whether `host` may be looked up: what is denied by name is not told to the servers of names.
    pub fn check_host(&self, host: &str) -> Result<(), Refusal> {
        match self.policy.as_ref().and_then(|policy| policy.of_host(host)) {
            Some(Decision::Denied(pattern)) => Err(Refusal::Denied(host.into(), pattern.clone())),
            Some(Decision::Allowed) | None => Ok(()),
        }
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
        let denied = |what: String, pattern: &DestinationPattern| Refusal::Denied(what, pattern.clone());
        match self.of_host(host) {
            Some(Decision::Allowed) => return Ok(()),
            Some(Decision::Denied(pattern)) => return Err(denied(host.into(), pattern)),
            None => {}
        }
        match self.of_address(ip) {
            Some(Decision::Allowed) => Ok(()),
            Some(Decision::Denied(pattern)) => Err(denied(ip.to_string(), pattern)),
            None => special(ip).map_or(Ok(()), |kind| Err(Refusal::Special(ip, kind))),
        }
    }

    fn of_host(&self, host: &str) -> Option<Decision<'_>> {
        self.decide(|pattern| pattern.length_of_name_in(host))
    }

    fn of_address(&self, ip: IpAddr) -> Option<Decision<'_>> {
        self.decide(|pattern| pattern.length_of_prefix_of(ip))
    }

    /// `specificity` of each pattern that matches.
    fn decide(&self, specificity: impl Fn(&DestinationPattern) -> Option<usize>) -> Option<Decision<'_>> {
        let best = |patterns: &'_ [DestinationPattern]| {
            let matching = patterns.iter().enumerate();
            let matching = matching.filter_map(|(index, pattern)| Some((specificity(pattern)?, index)));
            matching.max_by_key(|(specificity, _)| *specificity)
        };
        match (best(&self.allow), best(&self.deny)) {
            (None, None) => None,
            (Some((allowed, _)), denied) if denied.is_none_or(|(denied, _)| allowed > denied) => {
                Some(Decision::Allowed)
            }
            (_, denied) => denied.map(|(_, index)| Decision::Denied(&self.deny[index])),
        }
    }
}

impl DestinationPattern {
    /// Of a name that `host` has or ends in.
    fn length_of_name_in(&self, host: &str) -> Option<usize> {
        let Self::Host(suffix) = self else { return None };
        let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
        let start = host.len().checked_sub(suffix.len())?;
        let matches =
            host[start..].eq_ignore_ascii_case(suffix.as_bytes()) && (start == 0 || host[start - 1] == b'.');
        matches.then_some(suffix.len())
    }

    /// Of a network that has `ip`, or the IPv4 address in it.
    fn length_of_prefix_of(&self, ip: IpAddr) -> Option<usize> {
        let Self::Network(network) = self else { return None };
        let embedded = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => embedded_v4(ip).map(IpAddr::from),
        };
        let matches = network.contains(&ip) || embedded.is_some_and(|ip| network.contains(&ip));
        // So that those of both families compare.
        let above = if network.addr().is_ipv4() { MAPPED_PREFIX } else { 0 };
        matches.then_some(usize::from(above) + usize::from(network.prefix_len()))
    }
}

impl FromStr for DestinationPattern {
    type Err = DestinationPatternError;

    fn from_str(text: &str) -> Result<Self, DestinationPatternError> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Network(ip.to_canonical().into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return match network.trunc().addr() == network.addr() {
                true => Ok(Self::Network(canonical(network))),
                false => Err(DestinationPatternError::HostBits(text.into(), network)),
            };
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
            false => Err(DestinationPatternError::Malformed(text.into())),
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

/// A network of IPv4 that is written as one of IPv6, which no address would be found in.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network.addr() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let length = network.prefix_len().checked_sub(MAPPED_PREFIX);
    let of_v4 = mapped.zip(length).and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    of_v4.map_or(network, IpNet::V4)
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
    match ip {
        _ if ip.is_unspecified() => Some("an unspecified address"),
        _ if ip.is_loopback() => Some("a loopback address"),
        _ if ip.is_unicast_link_local() => Some("a link-local address"),
        _ if ip.is_multicast() => Some("a multicast address"),
        _ if METADATA_V6.contains(&ip) => Some("a metadata service"),
        _ => embedded_v4(ip).and_then(special_v4),
    }
}

/// Of an address that is IPv4-mapped, IPv4-compatible, of NAT64 or of 6to4.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match ip.segments() {
        _ if ip.is_unspecified() || ip.is_loopback() => return None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests;
