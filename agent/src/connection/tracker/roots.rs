//! Root usage: how many open connections depend on each root of the bundle, and would be closed if it were
//! removed. It is requested from outside, so a chain is verified once for as long as the bundle stays the
//! same, however many connections share it and however often the counts are requested.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use slab::Slab;

use super::entry::{ChainKey, Entry, Side};
use hotcert_tls::Peer;
use hotcert_tls::SingleRootVerifier;
use hotcert_tls::identity::Trust;

/// The root of each connected peer, as far as it was determined.
#[derive(Default)]
pub(in crate::connection) struct RootUsage {
    /// The digest of the bundle that the cache belongs to.
    trust_sha256: String,
    cache: HashMap<ChainKey, CachedRoot>,
}

struct CachedRoot {
    /// Keeps the address in the key from being reused for another peer.
    _peer: Weak<Peer>,
    /// Index among the roots of the bundle. `None` if no root verifies the chain, or more than one.
    root: Option<usize>,
}

/// The open connections of one peer on one side.
pub(super) struct PeerConnections {
    side: Side,
    peer: Arc<Peer>,
    connections: usize,
}

pub(super) fn by_peer(entries: &Slab<Arc<Entry>>) -> HashMap<ChainKey, PeerConnections> {
    let mut open: HashMap<ChainKey, PeerConnections> = HashMap::new();
    for (_, entry) in entries {
        if let Some(peer) = &entry.peer {
            let new = || PeerConnections { side: entry.side, peer: Arc::clone(peer), connections: 0 };
            open.entry(entry.chain_key()).or_insert_with(new).connections += 1;
        }
    }
    open
}

impl RootUsage {
    /// By the SHA-256 of each root of `trust`: the connections whose peer it alone verifies.
    pub(super) fn count(
        &mut self,
        open: HashMap<ChainKey, PeerConnections>,
        trust: &Trust,
    ) -> BTreeMap<String, usize> {
        if self.trust_sha256 != trust.sha256 {
            *self = Self { trust_sha256: trust.sha256.clone(), cache: HashMap::new() };
        }
        self.cache.retain(|key, _| open.contains_key(key));
        let verifiers: Vec<_> = trust.roots.iter().map(SingleRootVerifier::new).collect();
        let mut counts = vec![0; trust.roots.len()];
        for (key, PeerConnections { side, peer, connections }) in open {
            let cached = self.cache.entry(key).or_insert_with(|| {
                let verifies = |root: &SingleRootVerifier| match side {
                    Side::Inbound => root.trusts_client(&peer.chain, peer.verified_at),
                    Side::Outbound => root.trusts_server(&peer.chain, peer.verified_at),
                    // In plain text.
                    Side::App => false,
                };
                let matching =
                    verifiers.iter().enumerate().filter(|(_, root)| root.as_ref().is_ok_and(verifies));
                let mut matching = matching.map(|(index, _)| index);
                let root = matching.next().filter(|_| matching.next().is_none());
                CachedRoot { _peer: Arc::downgrade(&peer), root }
            });
            if let Some(count) = cached.root.and_then(|root| counts.get_mut(root)) {
                *count += connections;
            }
        }
        trust.roots.iter().map(|root| root.sha256.clone()).zip(counts).collect()
    }
}
