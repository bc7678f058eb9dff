//! What may happen next.

use super::rounds::RoundOutcome;
use super::*;
use crate::api::condition::Reason;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Round {
        fate: RoundOutcome,
        early: bool,
    },
    Stale(usize),
    Restart,
    Sync {
        pod: usize,
        lag: usize,
    },
    SyncAll,
    AddPod {
        certificate: usize,
        agent: bool,
    },
    RemovePod(usize),
    BecomeUnreachable(usize),
    BecomeReachable(usize),
    Connect(usize, usize),
    Disconnect(usize),
    Forward(Duration),
    Back(Duration),
    Rotate(usize),
    Rollback(usize, Option<u64>),
    Rollover(usize),
    Reverse(usize),
    Override {
        authority: usize,
        all: bool,
    },
    RemoveRoot(usize, usize),
    AcceptKeyring,
    DeleteSecret(usize),
    EditSecret(usize),
    AddCertificate,
    RemoveCertificate(usize),
    /// Its spec asks for what the authority does not allow, or no longer does.
    BreakSpec(usize),
    RepairSpec(usize),
    ChangeSpec(usize),
    /// Its spec names the other authority.
    Move(usize),
    /// Its spec names an authority that does not exist.
    MistypeAuthority(usize),
    /// One that was deleted is made again, under the same name.
    RecreateCertificate(usize),
    DeleteAuthority(usize),
    RecreateAuthority(usize),
    /// The right to a namespace is taken away.
    CloseNamespace(usize),
    OpenNamespace(usize),
    Backup,
    /// From the newest backup that is an hour old.
    Restore,
}

impl Step {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let one = || 0..12_usize;
        let fate = prop_oneof![
            6 => Just(RoundOutcome::Whole),
            2 => (0..6_usize).prop_map(RoundOutcome::Crash),
            1 => (0..6_usize).prop_map(RoundOutcome::Stop),
            1 => Just(RoundOutcome::Twice),
        ];
        let seconds = prop_oneof![
            4 => 1..30_u64,
            3 => 60..7200_u64,
            2 => 86_400..600_000_u64,
        ];
        let people = prop_oneof![
            2 => one().prop_map(Self::Rotate),
            2 => (one(), prop::option::of(0..6_u64)).prop_map(|(one, to)| Self::Rollback(one, to)),
            5 => one().prop_map(Self::Rollover),
            3 => one().prop_map(Self::Reverse),
            2 => (one(), any::<bool>()).prop_map(|(authority, all)| Self::Override { authority, all }),
            1 => (one(), one()).prop_map(|(authority, root)| Self::RemoveRoot(authority, root)),
            1 => Just(Self::AcceptKeyring),
            2 => one().prop_map(Self::DeleteSecret),
            2 => one().prop_map(Self::EditSecret),
            1 => Just(Self::AddCertificate),
            1 => one().prop_map(Self::RemoveCertificate),
            1 => one().prop_map(Self::RecreateCertificate),
            1 => one().prop_map(Self::BreakSpec),
            2 => one().prop_map(Self::RepairSpec),
            1 => one().prop_map(Self::ChangeSpec),
            3 => one().prop_map(Self::Move),
            2 => one().prop_map(Self::MistypeAuthority),
            1 => one().prop_map(Self::DeleteAuthority),
            2 => one().prop_map(Self::RecreateAuthority),
            2 => one().prop_map(Self::CloseNamespace),
            3 => one().prop_map(Self::OpenNamespace),
            2 => Just(Self::Backup),
            1 => Just(Self::Restore),
        ];
        let pods = prop_oneof![
            6 => (one(), 0..3_usize).prop_map(|(pod, lag)| Self::Sync { pod, lag }),
            3 => Just(Self::SyncAll),
            3 => (one(), prop::bool::weighted(0.9))
                .prop_map(|(certificate, agent)| Self::AddPod { certificate, agent }),
            2 => one().prop_map(Self::RemovePod),
            1 => one().prop_map(Self::BecomeUnreachable),
            2 => one().prop_map(Self::BecomeReachable),
            1 => (one(), one()).prop_map(|(from, to)| Self::Connect(from, to)),
            1 => one().prop_map(Self::Disconnect),
        ];
        prop_oneof![
            10 => (fate, any::<bool>()).prop_map(|(fate, early)| Self::Round { fate, early }),
            1 => (0..8_usize).prop_map(Self::Stale),
            1 => Just(Self::Restart),
            6 => pods,
            3 => people,
            2 => seconds.prop_map(|seconds| Self::Forward(Duration::from_secs(seconds))),
            1 => (60..3600_u64).prop_map(|seconds| Self::Back(Duration::from_secs(seconds))),
        ]
    }
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        self.now += Duration::from_millis(10);
        match *step {
            Step::Round { fate, early } => drop(self.round(fate, early)),
            Step::Stale(back) => self.stale(back),
            Step::Restart => self.restart(),
            Step::Sync { pod, lag } => self.sync(pod, lag),
            Step::SyncAll => (0..self.pods.len()).for_each(|pod| self.sync(pod, 0)),
            Step::AddPod { certificate, agent } => {
                if self.pods.len() < 9 {
                    self.add_pod(certificate, agent);
                }
            }
            Step::RemovePod(pod) => {
                if !self.pods.is_empty() {
                    self.pods.remove(pod % self.pods.len());
                }
            }
            Step::BecomeUnreachable(pod) => {
                self.pod(pod, |pod| (pod.reachable, pod.was_unreachable) = (false, true));
            }
            Step::BecomeReachable(pod) => self.pod(pod, |pod| pod.reachable = true),
            Step::Connect(from, to) => self.connect(from, to),
            Step::Disconnect(pod) => self.pod(pod, |pod| pod.connections.clear()),
            Step::Forward(by) => self.now += by,
            Step::Back(by) => self.now -= by,
            Step::Rotate(one) => self.ask_certificate(one, "rotate", String::new()),
            Step::Rollback(one, to) => {
                let to = to.map(|to| format!("to={to}")).unwrap_or_default();
                self.ask_certificate(one, "rollback", to);
            }
            Step::Rollover(one) => self.ask_authority(one, "rollover", "they asked for it".into()),
            Step::Reverse(one) => self.ask_authority(one, "reverse", String::new()),
            Step::Override { authority, all } => self.exempt(authority, all),
            Step::RemoveRoot(one, which) => {
                let name = authority_name(one);
                let Some((_, roots)) = &self.store.authorities[name].ring else { return };
                let root = roots.keys().nth(which % roots.len()).map(|root| root.0[..12].to_owned());
                self.ask_authority(one, "remove-root", format!("{} stolen", root.unwrap_or_default()));
            }
            Step::AcceptKeyring => {
                for one in 0..2 {
                    let state = self.state_of(authority_name(one));
                    if state.is_some_and(|state| state.unknown_root.is_some()) {
                        self.ask_authority(one, "accept-keyring", "there is no other".into());
                    }
                }
            }
            Step::DeleteSecret(one) => {
                let now = self.now;
                self.target(one, |target| {
                    if target.secret.take().is_some() {
                        target.vanished_at = Some(now);
                    }
                });
            }
            Step::EditSecret(one) => self.edit(one),
            Step::AddCertificate => {
                if self.store.certificates.len() < 5 {
                    self.add_certificate("bank");
                }
            }
            Step::RemoveCertificate(one) => {
                let name = self.store.certificates.keys().nth(one % 8).cloned();
                if let (Some(name), true) = (name, self.store.certificates.len() > 1) {
                    self.store.certificates.remove(&name);
                }
            }
            Step::RecreateCertificate(one) => {
                let is_gone = |name: &&ObjectName| !self.store.certificates.contains_key(*name);
                let gone: Vec<_> = self.store.targets.keys().filter(is_gone).cloned().collect();
                if let Some(name) = gone.get(one % gone.len().max(1)) {
                    self.store.certificates.insert(name.clone(), SimulatedCertificate::new());
                }
            }
            Step::Move(one) => self.certificate(one, |_, held| {
                let is_first = held.spec.authority == AUTHORITY;
                held.spec.authority = if is_first { OTHER } else { AUTHORITY }.into();
            }),
            Step::MistypeAuthority(one) => {
                self.certificate(one, |_, held| held.spec.authority = MISTYPED.into());
            }
            Step::DeleteAuthority(one) => self.authority(one).deleted = true,
            Step::RecreateAuthority(one) => {
                let held = self.authority(one);
                if held.deleted {
                    held.deleted = false;
                    held.status = AuthorityStatus::default();
                    held.requests.clear();
                }
            }
            Step::CloseNamespace(one) => drop(self.closed.insert(namespace(one).to_owned())),
            Step::OpenNamespace(one) => drop(self.closed.remove(namespace(one))),
            Step::Backup => self.backups.push((self.now, self.store.clone())),
            Step::Restore => {
                let is_old = |(at, _): &&(SystemTime, SimulatedStore)| *at + HOUR <= self.now;
                if let Some((_, backup)) = self.backups.iter().rev().find(is_old).cloned() {
                    self.restore(backup);
                }
            }
            Step::BreakSpec(one) => {
                self.certificate(one, |_, held| held.spec.lifetime = Some("31d".into()));
            }
            Step::RepairSpec(one) => self.certificate(one, |_, held| held.spec.lifetime = None),
            Step::ChangeSpec(one) => {
                self.certificate(one, |_, held| held.spec.lifetime = Some("10d".into()));
            }
        }
    }

    fn certificate(&mut self, one: usize, then: impl FnOnce(&ObjectName, &mut SimulatedCertificate)) {
        let many = self.store.certificates.len().max(1);
        if let Some((name, held)) = self.store.certificates.iter_mut().nth(one % many) {
            then(name, held);
        }
    }

    fn target(&mut self, one: usize, then: impl FnOnce(&mut Target)) {
        let many = self.store.targets.len().max(1);
        if let Some(target) = self.store.targets.values_mut().nth(one % many) {
            then(target);
        }
    }

    fn authority(&mut self, one: usize) -> &mut SimulatedAuthority {
        self.store.authorities.entry(authority_name(one).to_owned()).or_default()
    }

    fn pod(&mut self, one: usize, then: impl FnOnce(&mut SimulatedPod)) {
        let many = self.pods.len().max(1);
        if let Some(pod) = self.pods.get_mut(one % many) {
            then(pod);
        }
    }

    fn ask_certificate(&mut self, one: usize, verb: &str, words: String) {
        let id = format!("r{}", self.count());
        self.certificate(one, |_, held| {
            drop(held.requests.insert(verb.to_owned(), Request { id, arguments: words }))
        });
    }

    pub(super) fn ask_authority(&mut self, one: usize, verb: &str, words: String) {
        let id = format!("r{}", self.count());
        self.authority(one).requests.insert(verb.to_owned(), Request { id, arguments: words });
    }

    /// Names whom the status names.
    fn exempt(&mut self, one: usize, all: bool) {
        let Some(rollover) = &self.authority(one).status.rollover else {
            return self.exempt_move(one);
        };
        let named = rollover.waiting_for.iter().filter_map(|line| line.split_once(": "));
        let named = named.map(|(who, _)| match who.strip_prefix("namespace ") {
            Some(namespace) => format!("{namespace}/*"),
            None => who.to_owned(),
        });
        let named: Vec<_> = named.collect();
        let many = if all { named.len() } else { 1 };
        let named = named.into_iter().take(many).collect::<Vec<_>>().join(",");
        self.ask_authority(one, "override", format!("{named} they are lost"));
    }

    /// Names the first certificate that waits for its pods on the way from another authority.
    fn exempt_move(&mut self, one: usize) {
        let waits = |held: &SimulatedCertificate| {
            let mut reasons = held.status.conditions.iter().map(|condition| condition.reason);
            held.spec.authority == authority_name(one) && reasons.any(|reason| reason == Reason::MovingTrust)
        };
        let waiting = self.store.certificates.iter().find(|(_, held)| waits(held));
        if let Some(name) = waiting.map(|(name, _)| name.clone()) {
            self.ask_authority(one, "override", format!("{name} they are lost"));
        }
    }

    /// A pod takes what is there, or what was there `lag` writings ago; never what is older than its own.
    fn sync(&mut self, pod: usize, lag: usize) {
        let many = self.pods.len().max(1);
        let Some(pod) = self.pods.get_mut(pod % many) else { return };
        let Some(target) = self.store.targets.get(&pod.certificate) else { return };
        let there = target.secret.as_ref().and_then(|secret| secret.content);
        let there = there.map(|there| there.saturating_sub(lag));
        pod.serves = pod.serves.max(there);
    }

    pub(super) fn add_pod(&mut self, certificate: usize, agent: bool) {
        let number = self.count();
        let many = self.store.certificates.len().max(1);
        let Some(name) = self.store.certificates.keys().nth(certificate % many).cloned() else { return };
        let secret = self.store.targets.get(&name).and_then(|target| target.secret.as_ref());
        self.pods.push(SimulatedPod {
            name: format!("pod{number}"),
            uid: format!("uid{number}"),
            serves: secret.and_then(|secret| secret.content),
            certificate: name,
            agent,
            reachable: true,
            was_unreachable: false,
            nudged: None,
            connections: BTreeMap::new(),
        });
    }

    fn connect(&mut self, from: usize, to: usize) {
        let many = self.pods.len().max(1);
        let root =
            self.pods.get(from % many).and_then(|pod| self.content_of(pod)).map(|own| own.root.clone());
        if let Some(root) = root {
            self.pod(to, |pod| *pod.connections.entry(root).or_default() += 1);
        }
    }

    fn edit(&mut self, one: usize) {
        let number = self.count();
        self.target(one, |target| {
            if let Some(secret) = &mut target.secret {
                secret.stamp = number;
                secret.fingerprint = fingerprint(number);
                secret.leaf_sha256 = String::new();
                secret.revision = 1;
                secret.content = None;
            }
        });
    }
}

fn authority_name(one: usize) -> &'static str {
    if one.is_multiple_of(3) { OTHER } else { AUTHORITY }
}

fn namespace(one: usize) -> &'static str {
    if one.is_multiple_of(2) { "shop" } else { "bank" }
}
