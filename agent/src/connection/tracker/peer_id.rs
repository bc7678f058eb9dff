//! Whose a connection is.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use hotcert_tls::Peer;

/// Whose a connection is: a verified identity, and the address that it comes from. The pods of one service share what
/// the service may take, so that it counts once however many they are, and none of them can take it from the others. A
/// stranger is known by its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerId {
    pub identity: u64,
    /// Of the identity.
    pub source: u64,
}

impl PeerId {
    /// `hasher` has keys of this process, so that nobody can choose names that are taken for another's.
    pub fn new(hasher: &RandomState, peer: Option<&Peer>, source: IpAddr) -> Self {
        let source = source.to_canonical();
        let identity = match peer {
            None => hasher.hash_one(network(source)),
            Some(peer) => match &peer.spiffe_id {
                Some(id) => hasher.hash_one(id),
                None if peer.names.is_empty() => hasher.hash_one(&peer.subject),
                None => hasher.hash_one(peer.names.labels()),
            },
        };
        Self { identity, source: hasher.hash_one((identity, source)) }
    }
}

/// What one stranger can choose addresses from: in IPv6, a network of 64 bits is given to a single host.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}
