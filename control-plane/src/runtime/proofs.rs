//! The probes that the plan asks for. They run beside the rounds: a pod that does not answer delays
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::apply::Applier;
use crate::api::object_name::ObjectName;
use crate::pki::keyring::Keyring;
use crate::planner::ProbeRequest;
use crate::planner::observed::{Observed, PodList, Proof};
use crate::proof::{MAX_CONCURRENT, ProbeKey, Prober, ProofSchedule};
use crate::store::{Store, StoreError};

type ProbeResult = (ProbeKey, Proof);

pub struct Probing {
    prober: Prober,
    schedule: ProofSchedule,
    /// Of the authorities that probes are requested for; an error is why it cannot be read.
    keyrings: BTreeMap<String, Result<Arc<Keyring>, String>>,
    results: (mpsc::Sender<ProbeResult>, mpsc::Receiver<ProbeResult>),
}

impl Probing {
    pub fn new(prober: Prober) -> Self {
        Self {
            prober,
            schedule: ProofSchedule::default(),
            keyrings: BTreeMap::new(),
            results: mpsc::channel(MAX_CONCURRENT),
        }
    }

    /// Before another term as the leader: proofs are taken anew. What is still running ends by itself, unheard.
    pub fn forget(&mut self) {
        self.schedule = ProofSchedule::default();
        self.keyrings.clear();
        self.results = mpsc::channel(MAX_CONCURRENT);
    }

    /// Replaces the requests of the last plan, and starts the probes that are due.
    pub async fn request<S: Store>(
        &mut self,
        requests: &[ProbeRequest],
        applier: &Applier<S>,
        observed: &Observed,
        now: SystemTime,
    ) {
        self.keyrings.clear();
        let authorities: BTreeSet<_> =
            requests.iter().filter_map(|request| request.authority.as_deref()).collect();
        let mut outdated = BTreeSet::new();
        for authority in authorities {
            match applier.keyring(authority, observed).await {
                // Another writer was first: the next round plans on its keyring, and the pods have no part in it.
                Err(StoreError::Conflict(_)) => drop(outdated.insert(authority)),
                keyring => {
                    let keyring = keyring.map_err(|error| error.to_string());
                    self.keyrings.insert(authority.to_owned(), keyring);
                }
            }
        }
        let is_current = |request: &&ProbeRequest| {
            request.authority.as_deref().is_none_or(|authority| !outdated.contains(authority))
        };
        let requests: Vec<_> = requests.iter().filter(is_current).cloned().collect();
        self.schedule.request(&requests);
        self.start_due(now);
    }

    /// Waits for nothing: every probe runs in a task of its own.
    pub fn start_due(&mut self, now: SystemTime) {
        for request in self.schedule.due(now) {
            let key = ProbeKey::of(&request);
            let ProbeRequest { address, roots, authority, .. } = request;
            let keyring = authority.map(|authority| match self.keyrings.get(&authority) {
                Some(Ok(keyring)) => Ok(Arc::clone(keyring)),
                Some(Err(why)) => Err(why.clone()),
                None => Err(String::new()),
            });
            match keyring {
                None => self.start(key, self.prober.read_leaf(address, now)),
                Some(Ok(keyring)) => self.start(key, self.prober.prove(&keyring, address, &roots, now)),
                Some(Err(why)) => {
                    let proof = Proof { taken_at: now, leaf_since: now, result: Err(why) };
                    self.schedule.record(&key, proof, now);
                }
            }
        }
    }

    fn start(&self, key: ProbeKey, probe: impl Future<Output = Proof> + Send + 'static) {
        let results = self.results.0.clone();
        tokio::spawn(async move {
            let _ = results.send((key, probe.await)).await;
        });
    }

    /// Adds the proofs to the pods, and forgets pods that are gone.
    pub fn attach(&mut self, pods: &mut BTreeMap<String, PodList>, now: SystemTime) {
        self.schedule.attach(pods, now);
    }

    /// After Secrets were published: the pods that mount one may have something new to show.
    pub fn expect_change(&mut self, published: &BTreeSet<ObjectName>, pods: &BTreeMap<String, PodList>) {
        let namespaces: BTreeSet<&str> = published.iter().map(|secret| secret.namespace.as_str()).collect();
        let lists = namespaces.into_iter().filter_map(|name| Some((name, pods.get(name)?)));
        let pods = lists.flat_map(|(namespace, list)| list.pods.iter().map(move |pod| (namespace, pod)));
        let changed = pods.filter(|(namespace, pod)| {
            let mut secrets = pod.mounted_secrets.iter();
            secrets.any(|secret| published.contains(&ObjectName::new(*namespace, secret.clone())))
        });
        self.schedule.reset(&changed.map(|(_, pod)| pod.uid.as_str()).collect());
    }

    /// Records the results that have arrived.
    pub fn record_results(&mut self, now: SystemTime) {
        while let Ok((key, proof)) = self.results.1.try_recv() {
            self.schedule.record(&key, proof, now);
        }
    }

    /// Waits for a result, and records it with all others that have arrived.
    pub async fn next_result(&mut self, now: SystemTime) {
        // There is always a sender: `self` has one.
        if let Some((key, proof)) = self.results.1.recv().await {
            self.schedule.record(&key, proof, now);
            self.record_results(now);
        }
    }

    /// Starts what is due for as long as this work takes.
    pub async fn run_beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.next_result(SystemTime::now()) => self.start_due(SystemTime::now()),
            }
        }
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.schedule.next_due()
    }

    /// No probe is running and none is due.
    pub fn is_idle(&self, now: SystemTime) -> bool {
        self.schedule.is_idle() && self.schedule.next_due().is_none_or(|due| due > now)
    }
}
