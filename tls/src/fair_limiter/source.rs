//! Who is charged for what a client without a verified identity takes: what one host can be expected to have for itself.

use std::net::IpAddr;

/// Where a client comes from: an IPv4 address, or an IPv6 network of 64 bits, which one host can have to itself. Of
/// addresses of IPv4 that are mapped into IPv6 it is the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The caller names none.
    Unknown,
    /// An address.
    V4(u32),
    /// The first 64 bits: a host may choose the others freely.
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        // A listener on [::] sees the addresses of IPv4 as mapped ones, which share their first 64 bits.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}
