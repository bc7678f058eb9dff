//! One observed state, built by stating what is different: an authority with one root, and one certificate whose
//! first version is published, with no pods.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::super::plan;
use super::*;
use crate::pki::ledger::{LedgerChange, LedgerEntry};
use crate::planner::observed::{
    Authority, Certificate, HandshakeResult, KeyringState, KeyringView, Pod, PodAgent, PodList, Proof,
    Publication, Published, Request, SecretListing,
};

pub(super) struct Scene {
    pub observed: Observed,
    pub now: SystemTime,
}

/// The certificate that the tables are about.
pub(super) fn name() -> ObjectName {
    ObjectName::new("shop", "mtls-prod-payments")
}

pub(super) const OLD: u64 = 1;
pub(super) const NEW: u64 = 2;

impl Scene {
    /// Settled, an hour after it began.
    pub fn settled() -> Self {
        let mut state = State::steady(root_id(OLD));
        let secret = ObjectName::new("shop", "payments-tls");
        let record = BTreeMap::from([(secret, LedgerEntry::default())]);
        state.change_ledger(&LedgerChange { record, remove: BTreeSet::new() });
        let ring = KeyringView {
            resource_version: stamp(7),
            state,
            roots: BTreeMap::from([(root_id(OLD), root(start()))]),
        };
        let authority = Authority {
            uid: "authority".into(),
            resource_version: stamp(5),
            generation: 1,
            spec: authority_spec(),
            status: AuthorityStatus::default(),
            deleting: false,
            requests: BTreeMap::new(),
            keyring: KeyringState::Present(ring),
            import: None,
        };
        let certificate = Certificate {
            uid: "certificate".into(),
            resource_version: stamp(6),
            generation: 1,
            spec: certificate_spec(),
            status: CertificateStatus::default(),
            deleting: false,
            requests: BTreeMap::new(),
            versions: BTreeMap::new(),
            published: Published::Absent,
        };
        let observed = Observed {
            authorities: BTreeMap::from([(AUTHORITY.to_owned(), Arc::new(authority))]),
            certificates: [(name(), Arc::new(certificate))].into_iter().collect(),
            nudge: true,
            namespaces: BTreeMap::from([("shop".to_owned(), SecretListing::Complete(start()))]),
            ..Observed::default()
        };
        let mut scene = Self { observed, now: start() };
        scene.version(1, OLD);
        scene.publish(1);
        scene.now += HOUR;
        scene
    }

    /// In this phase of a rollover from [`OLD`] to [`NEW`], with what belongs to it published.
    pub fn rolling(phase: Phase) -> Self {
        let mut scene = Self::settled();
        let now = scene.now;
        let ring = scene.ring();
        ring.roots.insert(root_id(NEW), root(now));
        assert!(ring.state.begin(root_id(NEW), "why".into(), now));
        for out_of in [Phase::Distributing, Phase::Reissuing] {
            if out_of < phase {
                assert!(ring.state.advance(out_of, now));
            }
        }
        if phase > Phase::Distributing {
            scene.version(2, NEW);
            scene.publish(2);
        } else {
            scene.publish(1);
        }
        scene.now += MINUTE;
        scene.list_pods();
        scene
    }

    pub fn authority(&mut self) -> &mut Authority {
        Arc::make_mut(self.observed.authorities.get_mut(AUTHORITY).unwrap())
    }

    pub fn ring(&mut self) -> &mut KeyringView {
        match &mut self.authority().keyring {
            KeyringState::Present(ring) => ring,
            other => panic!("no ring: {other:?}"),
        }
    }

    pub fn certificate(&mut self) -> &mut Certificate {
        Arc::make_mut(self.observed.certificates.get_mut(&name()).unwrap())
    }

    /// Keeps a version, made now.
    pub fn version(&mut self, number: u64, root: u64) {
        let now = self.now;
        let version = Version {
            leaf: leaf(number, now, LEAF_LIFE),
            root: root_id(root),
            own_bundle: None,
            spec_digest: digest(&name(), &certificate_spec()),
            created_at: now,
            request: None,
            copy_of: None,
            fingerprint: fingerprint(number),
            has_key: true,
            resource_version: stamp(200 + number),
        };
        self.certificate().versions.insert(number, Arc::new(version));
    }

    pub fn version_mut(&mut self, number: u64) -> &mut Version {
        Arc::make_mut(self.certificate().versions.get_mut(&number).unwrap())
    }

    /// Writes this version and the trusted roots into the Secret, now.
    pub fn publish(&mut self, number: u64) {
        let roots = self.ring().state.trusted().into_iter().cloned().collect();
        let now = self.now;
        let certificate = self.certificate();
        let version = &certificate.versions[&number];
        certificate.published = Published::Ours(Publication {
            resource_version: stamp(100 + number),
            fingerprint: version.fingerprint,
            leaf_sha256: version.leaf.sha256.clone(),
            roots,
            revision: 10,
            written_at: now,
        });
        certificate.status.revision = Some(10);
    }

    pub fn publication(&mut self) -> &mut Publication {
        match &mut self.certificate().published {
            Published::Ours(publication) => publication,
            other => panic!("not published: {other:?}"),
        }
    }

    pub fn ask(&mut self, verb: &str, words: &str) {
        let request = Request { id: "r1".into(), arguments: words.into() };
        self.certificate().requests.insert(verb.into(), request);
    }

    pub fn ask_authority(&mut self, verb: &str, words: &str) {
        let request = Request { id: "r1".into(), arguments: words.into() };
        self.authority().requests.insert(verb.into(), request);
    }

    /// Lists the pods now.
    pub fn list_pods(&mut self) -> &mut PodList {
        let now = self.now;
        let none = PodList { listed_at: now, error: None, pods: Vec::new() };
        let look = self.observed.pods.entry("shop".into()).or_insert(none);
        look.listed_at = now;
        look
    }

    /// A pod with an agent that was not asked yet.
    pub fn pod(&mut self, name: &str) -> &mut Pod {
        let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let pod = Pod {
            name: name.into(),
            uid: format!("uid-{name}"),
            mounted_secrets: BTreeSet::from(["payments-tls".to_owned()]),
            agent: Some(PodAgent { secret: "payments-tls".into(), watches_api: false, address }),
            nudged_revision: None,
            proofs: BTreeMap::new(),
        };
        let look = self.list_pods();
        look.pods.push(pod);
        look.pods.last_mut().unwrap()
    }

    /// A pod that shows this version's leaf and lets in clients under these roots only.
    pub fn proven(&mut self, name: &str, leaf: u64, lets_in: &[u64]) -> &mut Pod {
        let at = self.now;
        let lets_in = |number: u64| (root_id(number), lets_in.contains(&number));
        let shown = HandshakeResult {
            leaf_sha256: sha256(leaf),
            accepts: [OLD, NEW].into_iter().map(lets_in).collect(),
            ..HandshakeResult::default()
        };
        let pod = self.pod(name);
        pod.proofs.insert(AUTHORITY.into(), Proof { taken_at: at, leaf_since: at, result: Ok(shown) }.into());
        pod
    }

    pub fn plan(&self) -> Plan {
        plan(&self.observed, self.now)
    }

    /// What is done to the store, in short; status and nudges aside.
    pub fn does(&self) -> Vec<String> {
        self.plan().actions.iter().filter_map(short).collect()
    }

    /// Whom the status names as holding the step.
    pub fn waiting(&self) -> Vec<String> {
        self.authority_status().rollover.map(|rollover| rollover.waiting_for).unwrap_or_default()
    }

    pub fn authority_status(&self) -> AuthorityStatus {
        let plan = self.plan();
        let status = plan.actions.iter().find_map(|action| match action {
            Action::UpdateAuthorityStatus { status, .. } => Some((**status).clone()),
            _ => None,
        });
        status.unwrap_or_else(|| self.observed.authorities[AUTHORITY].status.clone())
    }

    pub fn status(&self) -> CertificateStatus {
        let plan = self.plan();
        let status = plan.actions.iter().find_map(|action| match action {
            Action::UpdateCertificateStatus { status, .. } => Some((**status).clone()),
            _ => None,
        });
        status.unwrap_or_else(|| self.observed.certificates[&name()].status.clone())
    }

    /// Status, reason and message of a condition.
    pub fn condition(&self, kind: &str) -> Option<(String, String, String)> {
        let found = self.status().conditions.into_iter().find(|condition| condition.r#type.as_str() == kind);
        found.map(|condition| (condition.status.to_string(), condition.reason.to_string(), condition.message))
    }
}

/// `publish 2 over 101 of old+new`, `issue 3: renewal due`.
fn short(action: &Action) -> Option<String> {
    Some(match action {
        Action::Issue { version, reason: why, .. } => format!("issue {version}: {}", why.as_str()),
        Action::StoreFetched { version, request, .. } => match request {
            Some(request) => format!("keep {version} for {request}"),
            None => format!("keep {version}"),
        },
        Action::RollBack { version, to: of, .. } => format!("copy {of} as {version}"),
        Action::Publish { version, roots, expected: over, .. } => {
            let over = over.as_ref().map_or("nothing", |over| over.0.as_str());
            let roots: Vec<_> =
                roots.iter().map(|id| if *id == root_id(OLD) { "old" } else { "new" }).collect();
            format!("publish {version} over {over} of {}", roots.join("+"))
        }
        Action::Prune { version, .. } => format!("prune {version}"),
        Action::RemoveKey { version, .. } => format!("remove the key of {version}"),
        Action::Authority { transition, .. } => match transition {
            Transition::CreateRoot { .. } => "create".into(),
            Transition::BeginRollover { why, .. } => format!("begin: {why}"),
            Transition::AdvanceRollover { out_of } => format!("advance out of {}", out_of.as_str()),
            Transition::ReverseRollover { why, .. } => why.clone(),
            Transition::OverrideBlockers { pods, moves, reason, .. } => {
                let moves = moves.iter().map(|(certificate, _)| certificate.as_str());
                let pods: Vec<_> = pods.iter().map(|(pod, _)| pod.as_str()).chain(moves).collect();
                format!("exempt {}: {reason}", pods.join(","))
            }
            Transition::ChangeLedger(change) => {
                let names = |names: Vec<&ObjectName>| {
                    names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>().join(",")
                };
                match (change.record.is_empty(), change.remove.is_empty()) {
                    (false, true) => format!("record {}", names(change.record.keys().collect())),
                    _ => format!("cross out {}", names(change.remove.iter().collect())),
                }
            }
            Transition::ReportUnknownRoot(unknown) => format!("report unknown root at {}", unknown.seen_at),
            Transition::DisregardUnknownRoot { why, .. } => format!("accept keyring: {why}"),
            Transition::RemoveRoot { root, .. } => {
                format!("remove {}", if *root == root_id(OLD) { "old" } else { "new" })
            }
            Transition::CloseRequest { verb, outcome, .. } => format!("answer {verb}: {outcome}"),
        },
        Action::Nudge { .. }
        | Action::UpdateAuthorityStatus { .. }
        | Action::UpdateCertificateStatus { .. } => {
            return None;
        }
    })
}

/// What a pod was seen to show.
pub fn proof_mut(pod: &mut Pod) -> &mut Proof {
    Arc::make_mut(pod.proofs.get_mut(AUTHORITY).unwrap())
}
