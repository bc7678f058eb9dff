//! Whose a connection is: the one notion of a peer, by which places, connections to the app and memory are shared.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use hotcert_tls::{Peer, Source};

/// Whose a connection is: a verified identity, and the address that it comes from. The pods of one service share what
/// the service may take, so that it counts once however many they are, and none of them can take it from the others. A
/// client without a certificate is known by its [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerId {
    pub identity: u64,
    /// One address of the identity.
    pub source: u64,
}

impl PeerId {
    /// `hasher` has keys of this process, so that nobody can choose names that are taken for another's.
    pub fn new(hasher: &RandomState, peer: Option<&Peer>, source: IpAddr) -> Self {
        let identity = match peer {
            None => hasher.hash_one(Source::from(source)),
            Some(peer) => match &peer.spiffe_id {
                Some(id) => hasher.hash_one(id),
                None if peer.names.is_empty() => hasher.hash_one(&peer.subject),
                None => hasher.hash_one(peer.names.labels()),
            },
        };
        Self { identity, source: hasher.hash_one((identity, source.to_canonical())) }
    }
}
