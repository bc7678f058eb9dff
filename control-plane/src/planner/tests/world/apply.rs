//! Writing, as a store has to do it: over what was seen, or not at all. What is written is checked here.

use super::*;
use crate::pki::keyring::{HandledRequest, Override};

impl World {
    /// `false`: refused, since it is not written over what was seen, or may not be written.
    pub(super) fn apply(&mut self, action: &Action) -> bool {
        if action_namespace(action).is_some_and(|namespace| self.closed.contains(namespace)) {
            return false;
        }
        match action {
            Action::Authority { authority, transition, expected: over } => {
                self.transition(authority, transition, over.as_ref())
            }
            Action::Issue { certificate, version, settings, request, .. } => {
                self.issue(certificate, *version, settings, request.clone())
            }
            // There is no manager in this world.
            Action::StoreFetched { .. } => false,
            Action::RollBack { certificate, version, to: of, request, .. } => {
                let held = self.store.certificates.get(certificate);
                let Some(kept) = held.and_then(|held| held.versions.get(of)) else { return false };
                assert!(kept.has_key, "{certificate}: a version without a key is rolled back to");
                let (created_at, request, copy_of) = (self.now, Some(request.clone()), Some(*of));
                let kept = Version { created_at, request, copy_of, ..kept.clone() };
                self.keep(certificate, *version, kept)
            }
            Action::Publish { certificate, version, roots, keep, revision, expected: over, .. } => {
                self.publish(certificate, *version, (roots, keep), *revision, over.as_ref())
            }
            Action::Prune { certificate, version, .. } => {
                let Some(held) = self.store.certificates.get_mut(certificate) else { return false };
                held.versions.remove(version).is_some()
            }
            Action::RemoveKey { certificate, version, .. } => {
                let held = self.store.certificates.get_mut(certificate);
                let Some(kept) = held.and_then(|held| held.versions.get_mut(version)) else { return false };
                std::mem::take(&mut kept.has_key)
            }
            Action::Nudge { pod, revision } => {
                let named = |held: &&mut SimulatedPod| {
                    held.name == pod.name && held.certificate.namespace == pod.namespace
                };
                let Some(held) = self.pods.iter_mut().find(named) else { return false };
                held.nudged = held.nudged.max(Some(*revision));
                true
            }
            Action::UpdateAuthorityStatus { authority, status, .. } => {
                let Some(held) = self.store.authorities.get_mut(authority) else { return false };
                held.status = (**status).clone();
                true
            }
            Action::UpdateCertificateStatus { certificate, status, .. } => {
                let Some(held) = self.store.certificates.get_mut(certificate) else { return false };
                held.status = (**status).clone();
                true
            }
        }
    }

    /// The keyring of a certificate, as the store reads it before it is used: another one than was planned on is a
    /// conflict.
    fn keyring_of(&self, certificate: &ObjectName) -> Option<&(State, BTreeMap<RootId, Root>)> {
        let authority = &self.store.certificates.get(certificate)?.spec.authority;
        let held = self.store.authorities.get(authority)?;
        let is_current = self.planned_on.get(authority).is_none_or(|stamp| *stamp == held.stamp);
        held.ring.as_ref().filter(|_| is_current)
    }

    fn issue(
        &mut self,
        certificate: &ObjectName,
        version: u64,
        settings: &CertificateSettings,
        request: Option<String>,
    ) -> bool {
        let number = self.count();
        let Some((state, roots)) = self.keyring_of(certificate) else { return false };
        let (signing, now) = (state.signing().clone(), self.now);
        let root = &roots[&signing];
        if now < root.not_before || now >= root.not_after {
            return false;
        }
        let mut leaf = leaf(number, now, settings.leaf.lifetime);
        leaf.not_after = leaf.not_after.min(root.not_after);
        leaf.not_before = leaf.not_before.max(root.not_before);
        let version_kept = Version {
            leaf,
            root: signing,
            own_bundle: None,
            spec_digest: settings.digest(),
            created_at: now,
            request,
            copy_of: None,
            fingerprint: fingerprint(number),
            has_key: true,
            resource_version: ResourceVersion::default(),
        };
        let authority = self.store.certificates[certificate].spec.authority.clone();
        self.check_keyring_is_current(&authority, &format!("{certificate} is issued"));
        self.keep(certificate, version, version_kept)
    }

    fn keep(&mut self, certificate: &ObjectName, version: u64, kept: Version) -> bool {
        let Some(held) = self.store.certificates.get_mut(certificate) else { return false };
        if held.versions.contains_key(&version) {
            return false;
        }
        held.versions.insert(version, kept);
        held.newest = held.newest.max(version);
        true
    }

    fn publish(
        &mut self,
        certificate: &ObjectName,
        version: u64,
        (roots, keep): (&[RootId], &BTreeSet<RootId>),
        revision: u64,
        over: Option<&ResourceVersion>,
    ) -> bool {
        let written = self.count();
        let Some((state, _)) = self.keyring_of(certificate) else { return false };
        // The bundle is made of the keyring as it is now: if that is another one, it is a conflict.
        if !state.trusted().into_iter().eq(roots) {
            return false;
        }
        if self.has_ledger {
            let ledger = state.ledger.as_ref();
            let is_recorded = ledger.is_some_and(|ledger| {
                ledger.get(&certificate.namespace, &secret_name(certificate)).is_some()
            });
            assert!(is_recorded, "{certificate} is published and not in the ledger");
        }
        let known_elsewhere = |root: &RootId| {
            let mut rings = self.store.authorities.values().filter_map(|authority| authority.ring.as_ref());
            rings.any(|(_, roots)| roots.contains_key(root))
        };
        let in_secret = |root: &RootId| {
            let secret = self.store.targets.get(certificate).and_then(|target| target.secret.as_ref());
            secret.is_some_and(|secret| secret.roots.contains(root))
        };
        if !keep.iter().all(|root| known_elsewhere(root) || in_secret(root)) {
            return false;
        }
        let now = self.now;
        let (Some(held), Some(target)) =
            (self.store.certificates.get(certificate), self.store.targets.get_mut(certificate))
        else {
            return false;
        };
        if target.secret.as_ref().map(|secret| stamp(secret.stamp)).as_ref() != over {
            return false;
        }
        let Some(version) = held.versions.get(&version) else { return false };
        assert!(version.has_key, "{certificate}: a version without a key is published");
        let trust: BTreeSet<_> = roots.iter().chain(keep).cloned().collect();
        assert!(trust.contains(&version.root), "{certificate}: its own bundle rejects its leaf");
        if now >= version.leaf.not_after + SECOND {
            // It is validated before it is published.
            assert!(self.stale, "{certificate}: an expired leaf is published");
            return false;
        }
        let known = held.status.revision == i64::try_from(target.revision).ok();
        // The Secret is lost, the status is lost or outdated, and the clock was set back: then the last
        // revision cannot be known.
        let lost = target.secret.as_ref().is_none_or(|secret| secret.content.is_none());
        let behind = self.stale
            || now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() <= target.revision.into();
        let clueless = self.restored || lost && behind && (!known || self.stale);
        assert!(
            revision > target.revision || clueless,
            "{certificate}: {revision} after {}",
            target.revision
        );
        let content = Content { leaf: version.leaf.clone(), root: version.root.clone(), trust };
        target.secret = Some(Secret {
            stamp: written,
            fingerprint: version.fingerprint,
            leaf_sha256: content.leaf.sha256.clone(),
            roots: content.trust.clone(),
            revision,
            written_at: now,
            content: Some(target.contents.len()),
        });
        target.contents.push(content);
        target.revision = revision;
        true
    }

    fn transition(
        &mut self,
        authority: &str,
        transition: &Transition,
        over: Option<&ResourceVersion>,
    ) -> bool {
        let Some(held) = self.store.authorities.get(authority) else { return false };
        if held.ring.as_ref().map(|_| stamp(held.stamp)).as_ref() != over {
            return false;
        }
        let new = root_id(self.count());
        let now = self.now;
        self.made_for.insert(new.clone(), authority.to_owned());
        if let Transition::AdvanceRollover { .. } = transition {
            self.check_keyring_is_current(authority, "the rollover advances");
        }
        let stamp = self.count();
        let Some(held) = self.store.authorities.get_mut(authority) else { return false };
        held.stamp = stamp;
        let Some((mut state, mut roots)) = held.ring.take() else {
            assert!(matches!(transition, Transition::CreateRoot { .. }), "{transition:?} of nothing");
            held.ring = Some((State::steady(new.clone()), BTreeMap::from([(new, root(now))])));
            return true;
        };
        let before = state.clone();
        let answer = |verb: &str, id: &str, state: &mut State| state.record_handled(verb, id, "done", now);
        match transition {
            Transition::CreateRoot { .. } => panic!("a second first root"),
            Transition::BeginRollover { why, request, .. } => {
                roots.insert(new.clone(), root(now));
                assert!(state.begin(new, why.clone(), now));
                if let Some((verb, id)) = request {
                    answer(verb, id, &mut state);
                }
            }
            Transition::AdvanceRollover { out_of } => assert!(state.advance(*out_of, now)),
            Transition::ReverseRollover { why, request } => {
                assert!(state.reverse(why.clone(), now));
                answer("reverse", request, &mut state);
            }
            Transition::OverrideBlockers { pods, moves, reason, request } => {
                self.overridden.extend(moves.iter().map(|(certificate, _)| certificate.clone()));
                state.override_moves(moves.iter().map(|(_, secret)| secret.clone()));
                self.overridden.extend(pods.iter().map(|(_, uid)| uid.clone()));
                let exempt = |(pod, uid): &(String, String)| Override {
                    pod: pod.clone(),
                    uid: uid.clone(),
                    reason: reason.clone(),
                    at: now,
                };
                assert!(state.add_overrides(pods.iter().map(exempt)) || !moves.is_empty());
                answer("override", request, &mut state);
            }
            Transition::ChangeLedger(change) => state.change_ledger(change),
            Transition::ReportUnknownRoot(unknown) => state.unknown_root = Some(unknown.clone()),
            Transition::DisregardUnknownRoot { request, .. } => {
                assert!(state.disregard_unknown_root(now));
                answer("accept-keyring", request, &mut state);
            }
            Transition::RemoveRoot { root: removed, why, request, .. } => {
                roots.insert(new.clone(), root(now));
                assert!(state.remove(removed, Some(new), why.clone(), now));
                answer("remove-root", request, &mut state);
                self.forced.insert(authority.to_owned());
                self.removed.insert(removed.clone());
            }
            Transition::CloseRequest { verb, request, outcome } => {
                let answer =
                    HandledRequest { id: request.clone(), outcome: outcome.to_string(), handled_at: now };
                state.handled_requests.insert(verb.clone(), answer);
            }
        }
        assert_ne!(state, before, "{transition:?} did nothing");
        let needed: Vec<_> = state.needed().into_iter().cloned().collect();
        roots.retain(|id, _| needed.contains(id));
        held.ring = Some((state, roots));
        true
    }
}

/// Where it writes; `None` if that is the controller's own namespace, or an object that it may always write.
fn action_namespace(action: &Action) -> Option<&str> {
    match action {
        Action::Issue { certificate, .. }
        | Action::RollBack { certificate, .. }
        | Action::Publish { certificate, .. }
        | Action::Prune { certificate, .. }
        | Action::RemoveKey { certificate, .. } => Some(&certificate.namespace),
        Action::Nudge { pod, .. } => Some(&pod.namespace),
        _ => None,
    }
}
