//! What may happen next.

use super::rounds::RoundOutcome;
use super::*;

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
    Rollover,
    Reverse,
    Override {
        all_pods: bool,
    },
    RemoveRoot(usize),
    DeleteSecret(usize),
    EditSecret(usize),
    AddCertificate,
    RemoveCertificate(usize),
    /// Its spec asks for what the authority does not allow, or no longer does.
    BreakSpec(usize),
    RepairSpec(usize),
    ChangeSpec(usize),
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
            4 => Just(Self::Rollover),
            3 => Just(Self::Reverse),
            2 => any::<bool>().prop_map(|all_pods| Self::Override { all_pods }),
            1 => one().prop_map(Self::RemoveRoot),
            2 => one().prop_map(Self::DeleteSecret),
            2 => one().prop_map(Self::EditSecret),
            1 => Just(Self::AddCertificate),
            1 => one().prop_map(Self::RemoveCertificate),
            1 => one().prop_map(Self::BreakSpec),
            2 => one().prop_map(Self::RepairSpec),
            1 => one().prop_map(Self::ChangeSpec),
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
            2 => people,
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
            Step::AddPod { certificate, agent } => self.add_pod(certificate, agent),
            Step::RemovePod(pod) => {
                if !self.pods.is_empty() {
                    self.pods.remove(pod % self.pods.len());
                }
            }
            Step::BecomeUnreachable(pod) => self.pod(pod, |pod| pod.reachable = false),
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
            Step::Rollover => self.ask_authority("rollover", "they asked for it".into()),
            Step::Reverse => self.ask_authority("reverse", String::new()),
            Step::Override { all_pods } => self.exempt(all_pods),
            Step::RemoveRoot(which) => {
                let Some((_, roots)) = &self.ca.ring else { return };
                let root = roots.keys().nth(which % roots.len()).map(|root| root.0[..12].to_owned());
                self.ask_authority("remove-root", format!("{} stolen", root.unwrap_or_default()));
            }
            Step::DeleteSecret(one) => self.certificate(one, |_, held| held.secret = None),
            Step::EditSecret(one) => self.edit(one),
            Step::AddCertificate => {
                if self.certificates.len() < 5 {
                    self.add_certificate("bank");
                }
            }
            Step::RemoveCertificate(one) => {
                let name = self.certificates.keys().nth(one % 8).cloned();
                if let (Some(name), true) = (name, self.certificates.len() > 1) {
                    self.certificates.remove(&name);
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
        let many = self.certificates.len().max(1);
        if let Some((name, held)) = self.certificates.iter_mut().nth(one % many) {
            then(name, held);
        }
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

    pub(super) fn ask_authority(&mut self, verb: &str, words: String) {
        let id = format!("r{}", self.count());
        self.ca.requests.insert(verb.to_owned(), Request { id, arguments: words });
    }

    /// Names whom the status names.
    fn exempt(&mut self, all_pods: bool) {
        let Some(rollover) = &self.ca.status.rollover else { return };
        let named = rollover.waiting_for.iter().filter_map(|line| line.split_once(": "));
        let named: Vec<_> = named.map(|(who, _)| who).filter(|who| who.contains("/pod")).collect();
        let many = if all_pods { named.len() } else { 1 };
        let named = named.into_iter().take(many).collect::<Vec<_>>().join(",");
        self.ask_authority("override", format!("{named} they are lost"));
    }

    /// A pod takes what is there, or what was there `lag` writings ago; never what is older than its own.
    fn sync(&mut self, pod: usize, lag: usize) {
        let many = self.pods.len().max(1);
        let Some(pod) = self.pods.get_mut(pod % many) else { return };
        let Some(held) = self.certificates.get(&pod.certificate) else { return };
        let there = held.secret.as_ref().and_then(|secret| secret.content);
        let there = there.map(|there| there.saturating_sub(lag));
        pod.serves = pod.serves.max(there);
    }

    fn add_pod(&mut self, certificate: usize, agent: bool) {
        if self.pods.len() >= 9 {
            return;
        }
        let number = self.count();
        let many = self.certificates.len().max(1);
        let Some((name, held)) = self.certificates.iter().nth(certificate % many) else { return };
        self.pods.push(SimulatedPod {
            name: format!("pod{number}"),
            uid: format!("uid{number}"),
            certificate: name.clone(),
            agent,
            reachable: true,
            nudged: None,
            serves: held.secret.as_ref().and_then(|secret| secret.content),
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
        self.certificate(one, |_, held| {
            if let Some(secret) = &mut held.secret {
                secret.stamp = number;
                secret.fingerprint = fingerprint(number);
                secret.leaf_sha256 = String::new();
                secret.revision = 1;
                secret.content = None;
            }
        });
    }
}
