//! Which addresses may be called. Public ones; a name that somebody wrote down must not lead into the
//! cluster's own network, to a cloud's metadata or to this machine unless that was said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Public addresses, and these networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    pub allowed: Vec<Network>,
}

/// ADDRESS/BITS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network such as 10.20.0.0/16 or fd00::/8")]
pub struct NetworkError(String);

impl AddressPolicy {
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.has(address))
    }
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(of), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                (of.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(of), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                (of.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// An address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        if bits > longest { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Without what IANA's registry of special-purpose addresses keeps out of the public network.
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

/// Of 2000::/3 what is not set aside; what carries an IPv4 address counts as that one would.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // NAT64
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // 6to4
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        // Teredo, benchmarking, ORCHID and others of the protocol block; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused_in_every_way_to_write_it() {
        let reach = AddressPolicy::default();
        for public in
            ["1.1.1.1", "52.116.0.1", "2606:4700::1111", "100.128.0.1", "172.32.0.1", "64:ff9b::101:101"]
        {
            assert!(reach.allows(public.parse().unwrap()), "{public}");
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
            assert!(!reach.allows(closed.parse().unwrap()), "{closed}");
        }
    }

    #[test]
    fn a_network_that_was_allowed_is_and_no_more() {
        let reach = AddressPolicy {
            allowed: vec![
                "10.20.0.0/16".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
                "127.0.0.1".parse().unwrap(),
            ],
        };
        for open in ["10.20.3.4", "::ffff:10.20.3.4", "fdab::1", "127.0.0.1"] {
            assert!(reach.allows(open.parse().unwrap()), "{open}");
        }
        for closed in ["10.21.0.1", "fc00::1", "127.0.0.2"] {
            assert!(!reach.allows(closed.parse().unwrap()), "{closed}");
        }
        let all = AddressPolicy { allowed: vec!["0.0.0.0/0".parse().unwrap()] };
        assert!(all.allows("169.254.169.254".parse().unwrap()) && !all.allows("::1".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "", "::/129", "x/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError(wrong.into())));
        }
    }
}
