//! What has to be written into the ledger of an authority: the Secrets that its roots are about to be published
//! in, before that is done; and that a Secret, and every pod that mounts it, was seen without them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::leftover::{Leftover, PodTrust};
use crate::api::object_name::ObjectName;
use crate::api::settings::CertificateSettings;
use crate::pki::keyring::RootId;
use crate::pki::ledger::{Ledger, LedgerChange, LedgerEntry};
use crate::planner::dependent::DependentCertificate;
use crate::planner::moves::{MoveStage, Moves};
use crate::planner::observed::{Certificate, KeyringView, Observed, Published};
use crate::planner::plan::Plan;

/// How many roots of others one entry has: an authority has two, and a manager's bundle a few.
const MAX_ROOTS_OF_OTHERS: usize = 16;
/// Between two lists of the pods of a Secret that is without the authority's roots.
const RELIST: Duration = Duration::from_secs(5 * 60);

pub struct LedgerCheck<'a> {
    pub observed: &'a Observed,
    pub authority: &'a str,
    pub keyring: &'a KeyringView,
    pub dependents: &'a [DependentCertificate<'a>],
    pub moves: &'a Moves,
    pub now: SystemTime,
}

impl LedgerCheck<'_> {
    /// And whether the ledger has Secrets that none of the certificates publishes.
    pub fn change(&self, plan: &mut Plan) -> (LedgerChange, bool) {
        let mut change = LedgerChange::default();
        let Some(ledger) = self.keyring.state.ledger.as_deref() else {
            self.adopt(&mut change);
            for dependent in self.dependents {
                self.record_dependent(&Ledger::default(), dependent, &mut change);
            }
            return (change, true);
        };
        for dependent in self.dependents {
            self.record_dependent(ledger, dependent, &mut change);
        }
        let leftovers = leftovers(self.observed, ledger, self.dependents);
        let has_leftovers = !leftovers.is_empty();
        for leftover in leftovers {
            let entry = ledger.get(&leftover.secret.namespace, &leftover.secret.name);
            if self.is_without_roots(&leftover, plan) {
                change.remove.insert(leftover.secret);
            } else if entry.is_some_and(|entry| entry.switched) {
                // It has moved on. If it comes back, that is another move.
                change.record.insert(leftover.secret, LedgerEntry::default());
            }
        }
        (change, has_leftovers)
    }

    /// The keyring has no ledger: it is made of everything that is published.
    fn adopt(&self, change: &mut LedgerChange) {
        for dependent in self.dependents.iter().filter(|dependent| dependent.may_be_mounted()) {
            let moved_from = self.roots_of_others(dependent, None);
            change.record.insert(secret_of(dependent), LedgerEntry { moved_from, switched: false });
        }
        let has_root = |roots: &BTreeSet<RootId>| roots.iter().any(|root| self.keyring.state.knows(root));
        for (name, certificate) in self.observed.certificates.iter() {
            if let Published::Ours(publication) = &certificate.published
                && has_root(&publication.roots)
            {
                let secret = CertificateSettings::secret_name(&name.name, &certificate.spec);
                change.record.entry(ObjectName::new(name.namespace.clone(), secret)).or_default();
            }
        }
        let orphans = self.observed.watched_secrets.iter();
        for (secret, _) in orphans.filter(|(_, secret)| secret.orphan && has_root(&secret.roots)) {
            change.record.entry(secret.clone()).or_default();
        }
    }

    fn record_dependent(
        &self,
        ledger: &Ledger,
        dependent: &DependentCertificate<'_>,
        change: &mut LedgerChange,
    ) {
        let DependentCertificate { name, certificate, secret, .. } = *dependent;
        let is_published = certificate.newest().is_some() && !certificate.deleting && !secret.is_empty();
        let is_writable = matches!(certificate.published, Published::Absent | Published::Ours(_));
        if !is_published || !is_writable {
            return;
        }
        let known = ledger.get(&name.namespace, secret);
        // A spec that is refused widens nobody's trust.
        if known.is_none() && !dependent.valid {
            return;
        }
        let others = self.roots_of_others(dependent, known);
        let entry = match known {
            None => LedgerEntry { moved_from: others, switched: false },
            Some(_) if self.moves.stage(name) == Some(MoveStage::Done) => LedgerEntry::default(),
            Some(known) if known.is_overridden() => {
                let published = certificate.published_version();
                let is_own = published.is_some_and(|(_, version)| self.keyring.state.knows(&version.root));
                if !is_own {
                    return;
                }
                LedgerEntry::default()
            }
            Some(known) if !others.is_subset(&known.moved_from) => {
                // It comes back from where nothing was signed for it yet: its pods never showed anything else.
                let switched = known.may_have_signed() && !self.is_signed_by_another(dependent);
                LedgerEntry { moved_from: &known.moved_from | &others, switched }
            }
            Some(known)
                if !known.switched && self.moves.may_switch(name) && self.moves.stage(name).is_some() =>
            {
                LedgerEntry { switched: true, ..known.clone() }
            }
            Some(_) => return,
        };
        change.record.insert(secret_of(dependent), entry);
    }

    /// The roots in what is published that are not this authority's. Of a Secret that this authority has published
    /// before, only those that are known to be another's: one that nobody knows may be its own, from after the
    /// time that this keyring is of.
    fn roots_of_others(
        &self,
        dependent: &DependentCertificate<'_>,
        known: Option<&LedgerEntry>,
    ) -> BTreeSet<RootId> {
        let certificate = dependent.certificate;
        let published = dependent.publication().filter(|_| certificate.published_version().is_some());
        let Some(publication) = published else {
            // It was lost. Its pods trust what it had: the roots of the authorities that have published it, or those
            // in the entry if nobody else has since.
            return match known.is_some_and(|known| self.is_last_publisher(known, dependent)) {
                true => BTreeSet::new(),
                false => self.roots_of_recorded(dependent),
            };
        };
        // Those that are known first: more than a few were written into the Secret by somebody else.
        let (known_roots, unknown): (Vec<_>, Vec<_>) = publication
            .roots
            .iter()
            .filter(|root| !self.keyring.state.knows(root))
            .partition(|root| is_of_another(self.observed, self.authority, certificate, root));
        let roots = known_roots.into_iter().chain(unknown).take(MAX_ROOTS_OF_OTHERS);
        let is_others = |root: &RootId| {
            known.is_none() || is_of_another(self.observed, self.authority, certificate, root)
        };
        roots.filter(|root| is_others(root)).cloned().collect()
    }

    /// Whether no other authority has published the Secret after this one did: it has switched to this one, or there
    /// is no move, to this one or away from it, and the newest version is this one's.
    fn is_last_publisher(&self, known: &LedgerEntry, dependent: &DependentCertificate<'_>) -> bool {
        if known.switched || !known.moved_from.is_empty() {
            return known.switched;
        }
        let is_own = |root: &RootId| self.keyring.state.knows(root);
        let mut others = self.entries_of_others(dependent);
        dependent.certificate.newest().is_some_and(|(_, version)| is_own(&version.root))
            && !others.any(|entry| entry.moved_from.iter().any(is_own))
    }

    fn is_signed_by_another(&self, dependent: &DependentCertificate<'_>) -> bool {
        self.entries_of_others(dependent).any(LedgerEntry::may_have_signed)
    }

    /// What other authorities have written of the Secret.
    fn entries_of_others<'b>(
        &'b self,
        dependent: &'b DependentCertificate<'_>,
    ) -> impl Iterator<Item = &'b LedgerEntry> {
        self.other_keyrings().filter_map(|keyring| dependent.ledger_entry(keyring))
    }

    /// The roots of other authorities that have the Secret in their ledger.
    fn roots_of_recorded(&self, dependent: &DependentCertificate<'_>) -> BTreeSet<RootId> {
        let recorded = self.other_keyrings().filter(|keyring| dependent.ledger_entry(keyring).is_some());
        let roots = recorded.flat_map(|keyring| keyring.state.trusted());
        roots.filter(|root| !self.keyring.state.knows(root)).cloned().collect()
    }

    fn other_keyrings(&self) -> impl Iterator<Item = &KeyringView> {
        self.observed.keyrings().filter(|(name, _)| *name != self.authority).map(|(_, keyring)| keyring)
    }

    /// Whether the Secret and all pods that mount it were seen without the roots. Those that may have to show it are
    /// listed and probed.
    fn is_without_roots(&self, leftover: &Leftover<'_>, plan: &mut Plan) -> bool {
        let roots = self.keyring.state.needed();
        let namespace = &leftover.secret.namespace;
        let Some(since) = leftover.without(&roots) else { return false };
        // Another authority may be about to write them there, for as long as its certificate moves.
        let is_kept = self.other_keyrings().any(|keyring| {
            let entry = keyring.ledger_entry(namespace, &leftover.secret.name);
            entry.is_some_and(|entry| roots.iter().any(|root| entry.moved_from.contains(*root)))
        });
        if is_kept {
            return false;
        }
        let list = self.observed.pods.get(namespace);
        let Some(list) =
            list.filter(|list| list.error.is_none() && list.listed_at > since && list.listed_at <= self.now)
        else {
            plan.list_pods.insert(namespace.clone());
            return false;
        };
        let mut is_gone = true;
        for pod in list.pods.iter().filter(|pod| pod.mounted_secrets.contains(&leftover.secret.name)) {
            if !matches!(leftover.trust_of(pod, self.authority, &roots, since, self.now), PodTrust::Gone) {
                is_gone = false;
                plan.probes.extend(leftover.probe(pod, self.authority, &roots));
            }
        }
        if !is_gone {
            if self.now.duration_since(list.listed_at).unwrap_or_default() > RELIST {
                plan.list_pods.insert(namespace.clone());
            } else {
                plan.retain_pods.insert(namespace.clone());
            }
            plan.wake(self.now + RELIST);
        }
        is_gone
    }
}

/// The Secrets of the ledger that none of these certificates publishes.
pub fn leftovers<'a>(
    observed: &'a Observed,
    ledger: &Ledger,
    dependents: &[DependentCertificate<'_>],
) -> Vec<Leftover<'a>> {
    let mut published: Vec<(&str, &str)> =
        dependents.iter().map(|dependent| (dependent.name.namespace.as_str(), dependent.secret)).collect();
    published.sort_unstable();
    let mut published = published.into_iter().peekable();
    // Both are in order.
    let left = ledger.iter().filter(|(namespace, secret, _)| {
        while published.next_if(|before| *before < (*namespace, *secret)).is_some() {}
        published.peek() != Some(&(*namespace, *secret))
    });
    left.map(|(namespace, secret, _)| Leftover::find(observed, ObjectName::new(namespace, secret))).collect()
}

/// Whether another authority knows this root, or the manager that the certificate was fetched from.
pub fn is_of_another(observed: &Observed, authority: &str, certificate: &Certificate, root: &RootId) -> bool {
    let mut others = observed.keyrings().filter(|(name, _)| *name != authority);
    let mut versions = certificate.versions.values();
    others.any(|(_, keyring)| keyring.state.knows(root))
        || versions.any(|version| version.own_bundle.as_ref().is_some_and(|bundle| bundle.contains(root)))
}

fn secret_of(dependent: &DependentCertificate<'_>) -> ObjectName {
    ObjectName::new(dependent.name.namespace.clone(), dependent.secret)
}
