//! Which addresses an endpoint may connect to: public ones. A name in the settings file must not lead into the
//! cluster's network, to a cloud's metadata service or to this machine unless that network is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Public addresses and the `allowed` networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    pub allowed: Vec<Network>,
}

/// A CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.20.0.0/16 or fd00::/8")]
pub struct NetworkError(String);

impl AddressPolicy {
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// An address without a prefix length is a network of one address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let max_bits = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(max_bits);
        if bits > max_bits { Err(invalid()) } else { Ok(Self { address, bits }) }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Excludes the blocks that IANA's registry of special-purpose addresses keeps off the public internet.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    );
    !special
}

/// 2000::/3 without its reserved blocks. An address that embeds an IPv4 address is treated like that address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // NAT64
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // 6to4
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        // The protocol block (Teredo, benchmarking, ORCHID and others) and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_public_addresses_are_refused_in_every_notation() {
        let policy = AddressPolicy::default();
        for public in
            ["1.1.1.1", "52.116.0.1", "2606:4700::1111", "100.128.0.1", "172.32.0.1", "64:ff9b::101:101"]
        {
            assert!(policy.allows(public.parse().unwrap()), "{public}");
        }
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a00:1::",
            "2001:db8::1",
            "fec0::1",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!policy.allows(closed.parse().unwrap()), "{closed}");
        }
    }

    #[test]
    fn only_the_allowed_networks_are_added() {
        let policy = AddressPolicy {
            allowed: vec![
                "10.20.0.0/16".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
                "127.0.0.1".parse().unwrap(),
            ],
        };
        for open in ["10.20.3.4", "::ffff:10.20.3.4", "fdab::1", "127.0.0.1"] {
            assert!(policy.allows(open.parse().unwrap()), "{open}");
        }
        for closed in ["10.21.0.1", "fc00::1", "127.0.0.2"] {
            assert!(!policy.allows(closed.parse().unwrap()), "{closed}");
        }
        let all = AddressPolicy { allowed: vec!["0.0.0.0/0".parse().unwrap()] };
        assert!(all.allows("169.254.169.254".parse().unwrap()) && !all.allows("::1".parse().unwrap()));
        for invalid in ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "", "::/129", "x/8"] {
            assert_eq!(invalid.parse::<Network>(), Err(NetworkError(invalid.into())));
        }
    }
}
