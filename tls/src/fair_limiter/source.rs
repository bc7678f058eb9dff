//! Who is charged for a task: what one host can be expected to have for itself.

use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// All tasks of which the caller names no source.
    Unknown,
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
