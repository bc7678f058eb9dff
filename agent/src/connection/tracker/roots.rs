//! What hangs on each root: the connections that would be cut if it were taken out of the bundle. Asked
//! for from outside, so a chain is verified once for as long as the bundle stays the same, however many
//! connections have it and however often somebody asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, Weak};

use super::{ConnectionTracker, Side};
use crate::tls::config::SingleRootVerifier;
use crate::tls::identity::Trust;
use crate::tls::peer::Peer;

/// Which root the peers of open connections hang on, as far as it was asked.
#[derive(Default)]
pub(super) struct Anchored {
    /// The digest of the bundle.
    trust: String,
    known: HashMap<Key, Known>,
}

/// `Entry::peer_key`.
type Key = (bool, usize);

struct Known {
    /// Keeps the peer's address from being another's.
    _peer: Weak<Peer>,
    /// Index among the roots of the bundle. `None` if none verifies the chain, or more than one.
    root: Option<usize>,
}

struct Open {
    side: Side,
    peer: Arc<Peer>,
    connections: usize,
}

impl ConnectionTracker {
    /// By the SHA-256 of each root of `trust`: open connections, both inbound and outbound, whose peer it
    /// alone verifies. Those who showed no certificate hang on none; with one root, all others on it.
    pub fn under_each_root(&self, trust: &Trust) -> BTreeMap<String, usize> {
        let open = self.open_by_peer();
        let mut counts = vec![0; trust.roots.len()];
        let mut anchored = self.shared.anchored.lock().unwrap_or_else(PoisonError::into_inner);
        if anchored.trust != trust.sha256 {
            *anchored = Anchored { trust: trust.sha256.clone(), known: HashMap::new() };
        }
        anchored.known.retain(|key, _| open.contains_key(key));
        let alone: Vec<_> = trust.roots.iter().map(SingleRootVerifier::new).collect();
        for (key, Open { side, peer, connections }) in open {
            let known = anchored.known.entry(key).or_insert_with(|| {
                let verifies = |root: &SingleRootVerifier| match side {
                    Side::Inbound => root.trusts_client(&peer.chain, peer.verified_at),
                    Side::Outbound => root.trusts_server(&peer.chain, peer.verified_at),
                };
                let found = alone.iter().enumerate().filter(|(_, root)| root.as_ref().is_ok_and(verifies));
                let mut found = found.map(|(index, _)| index);
                let root = found.next().filter(|_| found.next().is_none());
                Known { _peer: Arc::downgrade(&peer), root }
            });
            if let Some(count) = known.root.and_then(|root| counts.get_mut(root)) {
                *count += connections;
            }
        }
        trust.roots.iter().map(|root| root.sha256.clone()).zip(counts).collect()
    }

    fn open_by_peer(&self) -> HashMap<Key, Open> {
        let mut open: HashMap<Key, Open> = HashMap::new();
        for (_, entry) in self.state().entries.iter() {
            if let Some(peer) = &entry.peer {
                let new = || Open { side: entry.side, peer: Arc::clone(peer), connections: 0 };
                open.entry(entry.peer_key()).or_insert_with(new).connections += 1;
            }
        }
        open
    }
}
