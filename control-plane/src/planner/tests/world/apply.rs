//! Writing, as a store has to do it: over what was seen, or not at all. What is written is checked here.

use super::*;
use crate::pki::keyring::{HandledRequest, Override};

impl World {
    /// `false`: refused, since it is not written over what was seen.
    pub(super) fn apply(&mut self, action: &Action) -> bool {
        match action {
            Action::Authority { transition, expected: over, .. } => {
                self.transition(transition, over.as_ref())
            }
            Action::Issue { certificate, version, settings, request, .. } => {
                self.issue(certificate, *version, settings, request.clone())
            }
            // There is no manager in this world.
            Action::StoreFetched { .. } => false,
            Action::RollBack { certificate, version, to: of, request, .. } => {
                let Some(kept) = self.certificates.get(certificate).and_then(|held| held.versions.get(of))
                else {
                    return false;
                };
                let (created_at, request, copy_of) = (self.now, Some(request.clone()), Some(*of));
                let kept = Version { created_at, request, copy_of, ..kept.clone() };
                self.keep(certificate, *version, kept)
            }
            Action::Publish { certificate, version, roots, revision, expected: over, .. } => {
                self.publish(certificate, *version, roots, *revision, over.as_ref())
            }
            Action::Prune { certificate, version, .. } => {
                let Some(held) = self.certificates.get_mut(certificate) else { return false };
                held.versions.remove(version).is_some()
            }
            Action::Nudge { pod, revision } => {
                let named = |held: &&mut SimulatedPod| {
                    held.name == pod.name && held.certificate.namespace == pod.namespace
                };
                let Some(held) = self.pods.iter_mut().find(named) else { return false };
                held.nudged = held.nudged.max(Some(*revision));
                true
            }
            Action::UpdateAuthorityStatus { status, .. } => {
                self.ca.status = (**status).clone();
                true
            }
            Action::UpdateCertificateStatus { certificate, status, .. } => {
                let Some(held) = self.certificates.get_mut(certificate) else { return false };
                held.status = (**status).clone();
                true
            }
        }
    }

    fn issue(
        &mut self,
        certificate: &ObjectName,
        version: u64,
        settings: &CertificateSettings,
        request: Option<String>,
    ) -> bool {
        let number = self.count();
        let Some((state, roots)) = &self.ca.ring else { return false };
        let (signing, now) = (state.signing().clone(), self.now);
        let root = &roots[&signing];
        if now < root.not_before || now >= root.not_after {
            return false;
        }
        let mut leaf = leaf(number, now, settings.leaf.lifetime);
        leaf.not_after = leaf.not_after.min(root.not_after);
        leaf.not_before = leaf.not_before.max(root.not_before);
        self.keep(
            certificate,
            version,
            Version {
                leaf,
                root: signing,
                own_bundle: None,
                spec_digest: settings.digest(),
                created_at: now,
                request,
                copy_of: None,
                fingerprint: fingerprint(number),
                resource_version: ResourceVersion::default(),
            },
        )
    }

    fn keep(&mut self, certificate: &ObjectName, version: u64, kept: Version) -> bool {
        let Some(held) = self.certificates.get_mut(certificate) else { return false };
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
        roots: &[RootId],
        revision: u64,
        over: Option<&ResourceVersion>,
    ) -> bool {
        let written = self.count();
        let Some((state, _)) = &self.ca.ring else { return false };
        // The bundle is made of the keyring as it is now: if that is another one, it is a conflict.
        if !state.trusted().into_iter().eq(roots) {
            return false;
        }
        let now = self.now;
        let Some(held) = self.certificates.get_mut(certificate) else { return false };
        if held.secret.as_ref().map(|secret| stamp(secret.stamp)).as_ref() != over {
            return false;
        }
        let Some(version) = held.versions.get(&version) else { return false };
        let trust: BTreeSet<_> = roots.iter().cloned().collect();
        assert!(trust.contains(&version.root), "{certificate}: its own bundle rejects its leaf");
        assert!(now < version.leaf.not_after + SECOND, "{certificate}: an expired leaf is published");
        let known = held.status.revision == i64::try_from(held.revision).ok();
        // The Secret is lost, the status is lost or outdated, and the clock was set back: then the last
        // revision cannot be known.
        let lost = held.secret.as_ref().is_none_or(|secret| secret.content.is_none());
        let behind = self.stale
            || now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() <= held.revision.into();
        let clueless = lost && behind && (!known || self.stale);
        assert!(revision > held.revision || clueless, "{certificate}: {revision} after {}", held.revision);
        let content = Content { leaf: version.leaf.clone(), root: version.root.clone(), trust };
        held.secret = Some(Secret {
            stamp: written,
            fingerprint: version.fingerprint,
            leaf_sha256: content.leaf.sha256.clone(),
            roots: content.trust.clone(),
            revision,
            written_at: now,
            content: Some(held.contents.len()),
        });
        held.contents.push(content);
        held.revision = revision;
        true
    }

    fn transition(&mut self, transition: &Transition, over: Option<&ResourceVersion>) -> bool {
        let held = self.ca.ring.as_ref().map(|_| stamp(self.ca.stamp));
        if held.as_ref() != over {
            return false;
        }
        let new = root_id(self.count());
        let now = self.now;
        let Some((mut state, mut roots)) = self.ca.ring.take() else {
            assert!(matches!(transition, Transition::CreateRoot { .. }), "{transition:?} of nothing");
            self.ca.ring = Some((State::steady(new.clone()), BTreeMap::from([(new, root(now))])));
            self.ca.stamp = self.count();
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
            Transition::OverrideBlockers { pods, reason, request } => {
                self.overridden.extend(pods.iter().map(|(_, uid)| uid.clone()));
                let exempt = |(pod, uid): &(String, String)| Override {
                    pod: pod.clone(),
                    uid: uid.clone(),
                    reason: reason.clone(),
                    at: now,
                };
                assert!(state.add_overrides(pods.iter().map(exempt)));
                answer("override", request, &mut state);
            }
            Transition::RemoveRoot { root: removed, why, request, .. } => {
                roots.insert(new.clone(), root(now));
                assert!(state.remove(removed, Some(new), why.clone(), now));
                answer("remove-root", request, &mut state);
                self.forced = true;
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
        self.ca.ring = Some((state, roots));
        self.ca.stamp = self.count();
        true
    }
}
