//! Which leaves exist, and which of them were served.
//!
//! Every leaf is registered here before any agent can read it, as good or as broken; every handshake of the client
//! records the leaf it was shown. A leaf that was never registered, or registered as broken, must never be served.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// SHA-256 of a leaf's DER.
pub type Fingerprint = [u8; 32];

pub fn fingerprint(der: &[u8]) -> Fingerprint {
    Sha256::digest(der).into()
}

/// As the control plane writes it: 64 hex digits.
pub fn parse(hex: &str) -> Option<Fingerprint> {
    let mut bytes = [0; 32];
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * number..2 * number + 2)?, 16).ok()?;
    }
    (hex.len() == 64).then_some(bytes)
}

#[derive(Default)]
pub struct LeafTracker {
    leaves: Mutex<HashMap<Fingerprint, Leaf>>,
}

enum Leaf {
    /// With its number in the order of publication.
    Good(u64),
    Broken {
        served: bool,
    },
    Unknown,
}

impl LeafTracker {
    pub fn expect(&self, leaf: Fingerprint) {
        let mut leaves = self.leaves();
        let number = leaves.len() as u64;
        leaves.insert(leaf, Leaf::Good(number));
    }

    pub fn forbid(&self, leaf: Fingerprint) {
        self.leaves().insert(leaf, Leaf::Broken { served: false });
    }

    pub fn record(&self, leaf: Fingerprint) {
        match self.leaves().entry(leaf).or_insert(Leaf::Unknown) {
            Leaf::Broken { served } => *served = true,
            Leaf::Good(_) | Leaf::Unknown => {}
        }
    }

    /// A good leaf's number in the order of publication.
    pub fn number(&self, leaf: &Fingerprint) -> Option<u64> {
        match self.leaves().get(leaf) {
            Some(Leaf::Good(number)) => Some(*number),
            _ => None,
        }
    }

    /// How many leaves were served that should not have been: broken and unknown ones.
    pub fn wrongly_served(&self) -> u64 {
        let wrong = |leaf: &&Leaf| matches!(leaf, Leaf::Broken { served: true } | Leaf::Unknown);
        self.leaves().values().filter(wrong).count() as u64
    }

    fn leaves(&self) -> MutexGuard<'_, HashMap<Fingerprint, Leaf>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_and_unknown_leaves_are_counted_once_each() {
        let leaf_tracker = LeafTracker::default();
        leaf_tracker.expect([1; 32]);
        leaf_tracker.forbid([2; 32]);
        leaf_tracker.forbid([3; 32]);
        leaf_tracker.record([1; 32]);
        assert_eq!(leaf_tracker.wrongly_served(), 0);
        leaf_tracker.record([2; 32]);
        leaf_tracker.record([2; 32]);
        leaf_tracker.record([4; 32]);
        assert_eq!(leaf_tracker.wrongly_served(), 2);
    }

    #[test]
    fn fingerprints_are_parsed_as_the_control_plane_writes_them() {
        let hex = "00ff".repeat(16);
        assert_eq!(parse(&hex).map(|read| (read[0], read[31])), Some((0, 255)));
        for wrong in [&hex[2..], &format!("{hex}00"), &hex.replace('f', "g"), ""] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn good_leaves_are_numbered_in_order() {
        let leaf_tracker = LeafTracker::default();
        leaf_tracker.expect([1; 32]);
        leaf_tracker.forbid([2; 32]);
        leaf_tracker.expect([3; 32]);
        assert!(leaf_tracker.number(&[1; 32]) < leaf_tracker.number(&[3; 32]));
        assert_eq!(leaf_tracker.number(&[2; 32]), None);
    }
}
