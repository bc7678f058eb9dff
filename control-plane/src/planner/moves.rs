//! A certificate that comes from another authority, or from a manager. Its pods first trust the roots of both,
//! then show a leaf of the new authority, and last lose the roots they had before; each step waits until every
//! pod was seen to have taken the one before. Certificates that come from the same roots take each step
//! together, because they may talk to each other.
//!
//! How far one has come is read from what is published and from what its pods show: nothing is remembered but the
//! roots that it came with, in the [ledger](crate::pki::ledger).

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::dependent::DependentCertificate;
use super::observed::{KeyringView, Observed};
use super::pods::PodsBySecret;
use crate::api::object_name::ObjectName;
use crate::pki::keyring::RootId;
use crate::pki::ledger::LedgerEntry;

/// How far a certificate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveStage {
    /// Some pod may not trust the new authority yet.
    Widening,
    /// Every pod trusts both.
    TrustingBoth,
    /// A leaf of the new authority is published.
    Switching,
    /// Every pod shows it.
    Switched,
    /// The roots it came with are out of the bundle.
    Narrowing,
    /// No pod trusts them.
    Done,
}

#[derive(Debug, Default)]
pub struct Moves {
    moves: BTreeMap<ObjectName, Move>,
    /// The certificate that has come least far, by a root that it came with.
    slowest: BTreeMap<RootId, (MoveStage, ObjectName)>,
}

#[derive(Debug)]
struct Move {
    /// The name of its Secret.
    secret: String,
    from: BTreeSet<RootId>,
    /// Those of them that a bundle can still have.
    kept: BTreeSet<RootId>,
    /// Those of them under which its pods may show a leaf.
    shown: BTreeSet<RootId>,
    /// The ledger says so.
    switched: bool,
    former_leaf: FormerLeaf,
    stage: MoveStage,
}

/// The leaf from before, which its pods show meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormerLeaf {
    Valid,
    /// It has expired, or its root may not be kept.
    Gone,
    /// There is no version of it any more: it is not known whether it is valid, and it cannot be published again.
    Lost,
}

impl Moves {
    /// Of the certificates of one authority.
    pub fn of(
        keyring: &KeyringView,
        dependents: &[DependentCertificate<'_>],
        pods: &PodsBySecret<'_>,
        now: SystemTime,
    ) -> Self {
        let Some(ledger) = keyring.state.ledger.as_ref().filter(|ledger| ledger.has_moves()) else {
            return Self::default();
        };
        let moves = dependents.iter().filter_map(|dependent| {
            let entry = ledger.get(&dependent.name.namespace, dependent.secret)?;
            let moving = || Move::of(entry, keyring, dependent, pods, now);
            (!entry.moved_from.is_empty()).then(|| (dependent.name.clone(), moving()))
        });
        let moves: BTreeMap<ObjectName, Move> = moves.collect();
        let mut slowest = BTreeMap::<RootId, (MoveStage, ObjectName)>::new();
        for (name, moving) in &moves {
            for root in &moving.from {
                let slower = slowest.get(root).is_none_or(|(stage, _)| moving.stage < *stage);
                if slower {
                    slowest.insert(root.clone(), (moving.stage, name.clone()));
                }
            }
        }
        Self { moves, slowest }
    }

    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// The Secret of a certificate that moves.
    pub fn secret(&self, certificate: &ObjectName) -> Option<&str> {
        Some(&self.moves.get(certificate)?.secret)
    }

    pub fn stage(&self, certificate: &ObjectName) -> Option<MoveStage> {
        Some(self.moves.get(certificate)?.stage)
    }

    /// The roots it came with.
    pub fn from(&self, certificate: &ObjectName) -> Option<&BTreeSet<RootId>> {
        Some(&self.moves.get(certificate)?.from)
    }

    /// The roots that it came with under which its pods may show a leaf.
    pub fn shown(&self, certificate: &ObjectName) -> Option<&BTreeSet<RootId>> {
        Some(&self.moves.get(certificate)?.shown)
    }

    /// Whether a leaf of the new authority may be published. That is written down first.
    pub fn has_switched(&self, certificate: &ObjectName) -> bool {
        self.moves.get(certificate).is_none_or(|moving| moving.switched)
    }

    /// Its pods have what was signed before it moved, and of that no version is left to publish with both bundles.
    pub fn has_lost_history(&self, certificate: &ObjectName) -> bool {
        let moving = self.moves.get(certificate).filter(|moving| !moving.switched);
        moving.is_some_and(|moving| moving.former_leaf == FormerLeaf::Lost)
    }

    /// Whether that may be written down: every certificate that comes from the same roots has pods that trust both.
    pub fn may_switch(&self, certificate: &ObjectName) -> bool {
        self.slowest(certificate) >= MoveStage::TrustingBoth
            || self.moves.get(certificate).is_some_and(|moving| moving.former_leaf == FormerLeaf::Gone)
    }

    /// The roots it came with that stay in its bundle: until none of those certificates shows a leaf under them.
    pub fn keep(&self, certificate: &ObjectName) -> BTreeSet<RootId> {
        let Some(Move { kept, stage, .. }) = self.moves.get(certificate) else { return BTreeSet::new() };
        if *stage >= MoveStage::Narrowing || self.slowest(certificate) >= MoveStage::Switched {
            return BTreeSet::new();
        }
        kept.clone()
    }

    /// The certificate that it waits for: of those that come from the same roots, the one that has come least far.
    pub fn waits_for(&self, certificate: &ObjectName) -> Option<&ObjectName> {
        let from = &self.moves.get(certificate)?.from;
        let slowest = from.iter().filter_map(|root| self.slowest.get(root));
        slowest.min().map(|(_, name)| name)
    }

    fn slowest(&self, certificate: &ObjectName) -> MoveStage {
        let Some(slowest) = self.waits_for(certificate) else { return MoveStage::Done };
        self.stage(slowest).unwrap_or(MoveStage::Done)
    }
}

impl Move {
    fn of(
        entry: &LedgerEntry,
        keyring: &KeyringView,
        dependent: &DependentCertificate<'_>,
        pods: &PodsBySecret<'_>,
        now: SystemTime,
    ) -> Self {
        let from = &entry.moved_from;
        let filter = |is: &dyn Fn(&RootId) -> bool| from.iter().filter(|root| is(root)).cloned().collect();
        let kept: BTreeSet<_> = filter(&|root| may_be_kept(pods.observed, dependent, root));
        let shown: BTreeSet<_> = filter(&|root| may_be_shown(pods.observed, dependent, root));
        Self {
            secret: dependent.secret.to_owned(),
            former_leaf: FormerLeaf::of(dependent, &shown, &kept, now),
            from: from.clone(),
            kept,
            shown,
            switched: entry.switched,
            stage: stage(keyring, dependent, from, pods, now),
        }
    }
}

impl FormerLeaf {
    /// Of those that its pods may show, the ones under roots that are kept count: what is under another is accepted
    /// by nobody any more.
    fn of(
        dependent: &DependentCertificate<'_>,
        shown: &BTreeSet<RootId>,
        kept: &BTreeSet<RootId>,
        now: SystemTime,
    ) -> Self {
        let accepted = shown & kept;
        let is_removed = |root: &RootId| shown.contains(root) && !kept.contains(root);
        let published = dependent.certificate.published_version();
        if accepted.is_empty() || published.is_some_and(|(_, version)| is_removed(&version.root)) {
            return Self::Gone;
        }
        let versions = dependent.certificate.versions.values();
        let mut versions = versions.filter(|version| accepted.contains(&version.root)).peekable();
        if versions.peek().is_none() {
            return Self::Lost;
        }
        if versions.any(|version| now < version.leaf.not_after) { Self::Valid } else { Self::Gone }
    }
}

/// Not if its own authority has removed it, which may have been because it is compromised, or has seen the Secret and
/// its pods without it; nor if it is in no keyring and not in the Secret.
fn may_be_kept(observed: &Observed, dependent: &DependentCertificate<'_>, root: &RootId) -> bool {
    match owner(observed, root) {
        Some(keyring) => keyring.state.trusted().contains(&root) && dependent.ledger_entry(keyring).is_some(),
        None => dependent.publication().is_some_and(|publication| publication.roots.contains(root)),
    }
}

/// Not if its own authority has never come so far as to sign for it, or has seen the Secret and its pods without it.
fn may_be_shown(observed: &Observed, dependent: &DependentCertificate<'_>, root: &RootId) -> bool {
    let Some(keyring) = owner(observed, root) else { return true };
    dependent.ledger_entry(keyring).is_some_and(LedgerEntry::may_have_signed)
}

/// The keyring that has the root, or had it.
fn owner<'a>(observed: &'a Observed, root: &RootId) -> Option<&'a KeyringView> {
    observed.keyrings().map(|(_, keyring)| keyring).find(|keyring| keyring.state.knows(root))
}

fn stage(
    keyring: &KeyringView,
    dependent: &DependentCertificate<'_>,
    from: &BTreeSet<RootId>,
    pods: &PodsBySecret<'_>,
    now: SystemTime,
) -> MoveStage {
    let Some(publication) = dependent.publication() else { return MoveStage::Widening };
    let Some((_, version)) = dependent.certificate.published_version() else { return MoveStage::Widening };
    let trusts_both = keyring.state.trusted().into_iter().all(|root| publication.roots.contains(root));
    let is_under_own = keyring.state.needed().contains(&&version.root);
    let is_narrow = publication.roots.is_disjoint(from);
    let is_ours = |root: &RootId| keyring.state.knows(root) || from.contains(root);
    let authority = &dependent.certificate.spec.authority;
    let served = || pods.all_serve(dependent, publication, authority, &is_ours, now);
    match (is_under_own, is_narrow) {
        (true, true) if served() => MoveStage::Done,
        (true, true) => MoveStage::Narrowing,
        (true, false) if served() => MoveStage::Switched,
        (true, false) => MoveStage::Switching,
        (false, _) if trusts_both && served() => MoveStage::TrustingBoth,
        (false, _) => MoveStage::Widening,
    }
}
