//! The loop: look, plan, apply, and wait for something to change. A round that finds nothing to do costs
//! one look at what the store has in memory; between rounds nothing is asked of anybody.
//!
//! Handshakes with pods go on beside the rounds: a pod that does not answer delays nobody.

mod counts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::apply::{Applier, ApplyError};
use crate::observed::{Observed, Proof};
use crate::plan::{Action, Plan, Prove, plan};
use crate::prove::{Prober, ProofBook};
use crate::store::{Store, StoreError};
pub use counts::Counts;

/// Writes under way at the same time.
const AT_ONCE: usize = 32;
/// Handshakes under way at the same time.
const HANDSHAKES: usize = 64;
/// Pods that are nudged in one round; the others are in the next.
const NUDGES: usize = 50;
/// Between rounds while pods are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Between rounds when something failed: doubles up to the longer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// In case that a change was missed.
const FLOOR: Duration = Duration::from_secs(10 * 60);

pub struct Reconciler<S> {
    store: Arc<S>,
    applier: Arc<Applier<S>>,
    prober: Prober,
    book: ProofBook,
    /// Of handshakes, by the pod's uid.
    results: (mpsc::Sender<Seen>, mpsc::Receiver<Seen>),
    look: BTreeSet<String>,
    nudge: bool,
    counts: Counts,
    failures: u32,
    /// What was logged last of each object, so that it is not said again every round.
    said: BTreeMap<String, String>,
}

type Seen = (String, Proof);

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    pub applied: usize,
    pub failed: Vec<String>,
    pub overtaken: usize,
    /// Nothing was to be done, and no pod has to be looked at.
    pub settled: bool,
    pub wake_at: Option<SystemTime>,
    pub observed: Observed,
}

impl<S: Store> Reconciler<S> {
    /// `nudge`: whether pods may be told to look at their volumes.
    pub fn new(store: Arc<S>, prober: Prober, nudge: bool, counts: Counts) -> Self {
        Self {
            applier: Arc::new(Applier::new(Arc::clone(&store))),
            store,
            prober,
            book: ProofBook::default(),
            results: mpsc::channel(HANDSHAKES),
            look: BTreeSet::new(),
            nudge,
            counts,
            failures: 0,
            said: BTreeMap::new(),
        }
    }

    /// Runs while `leading` is set, waits while it is not, and ends with its sender.
    pub async fn run(mut self, mut leading: watch::Receiver<bool>) {
        while leading.wait_for(|leads| *leads).await.is_ok() {
            tokio::select! {
                () = self.lead() => {}
                lost = async { leading.wait_for(|leads| !*leads).await.is_ok() } => {
                    if !lost {
                        return;
                    }
                    info!("another replica leads");
                }
            }
        }
    }

    async fn lead(&mut self) {
        loop {
            let begin = Instant::now();
            let pause = match self.round().await {
                Ok(round) => self.pause(&round, begin.elapsed()),
                Err(error) => {
                    self.say("look", &error.to_string());
                    self.failures = self.failures.saturating_add(1);
                    Pause { at_least: retry(self.failures), at_most: retry(self.failures) }
                }
            };
            self.wait(pause).await;
        }
    }

    /// One look, and all that follows from it.
    pub async fn round(&mut self) -> Result<Round, StoreError> {
        let mut observed = self.store.observe().await?;
        observed.nudge = self.nudge;
        while let Ok((uid, proof)) = self.results.1.try_recv() {
            self.book.record(&uid, proof, SystemTime::now());
        }
        if !self.look.is_empty() {
            observed.pods = self.store.pods(&self.look).await;
            self.book.attach(&mut observed.pods);
        }
        for problem in &observed.problems {
            self.say(problem, problem);
        }
        // After everything was seen: what seems to be of the future is a clock that was set.
        let now = SystemTime::now();
        let plan = plan(&observed, now);
        self.counts.observe(&observed, now);
        let mut round = Round { wake_at: plan.wake_at, ..Round::default() };
        self.apply(&plan, &observed, now, &mut round).await;
        let asked = self.prove(&plan.prove, &observed, now).await;
        round.settled = plan.actions.is_empty() && plan.look.is_empty() && asked == 0;
        self.look = plan.look;
        round.observed = observed;
        Ok(round)
    }

    async fn apply(&mut self, plan: &Plan, observed: &Observed, now: SystemTime, round: &mut Round) {
        let is_turn = |action: &&Action| matches!(action, Action::Authority { .. });
        let mut turned = BTreeSet::new();
        for action in plan.actions.iter().filter(is_turn) {
            let result = self.applier.apply(action, observed, now).await;
            if let Action::Authority { authority, .. } = action {
                turned.insert(authority.as_str());
            }
            self.done(action, result, observed, round);
        }
        // What was planned for the state before a step waits for the next look.
        let waits = |action: &Action| match action {
            Action::Issue { certificate, .. }
            | Action::Copy { certificate, .. }
            | Action::Publish { certificate, .. } => observed
                .certificates
                .get(certificate)
                .is_some_and(|certificate| turned.contains(certificate.spec.authority.as_str())),
            _ => false,
        };
        let mut nudges = 0;
        let others: Vec<&Action> = plan
            .actions
            .iter()
            .filter(|action| !is_turn(action) && !waits(action))
            .filter(|action| {
                nudges += usize::from(matches!(action, Action::Nudge { .. }));
                !matches!(action, Action::Nudge { .. }) || nudges <= NUDGES
            })
            .collect();
        if others.len() > AT_ONCE {
            info!(actions = others.len(), "a large plan");
        }
        let applier = Arc::clone(&self.applier);
        let (mut others, mut under_way) = (others.into_iter(), FuturesUnordered::new());
        loop {
            let room = AT_ONCE - under_way.len();
            for action in others.by_ref().take(room) {
                let applier = Arc::clone(&applier);
                under_way.push(async move { (action, applier.apply(action, observed, now).await) });
            }
            let Some((action, result)) = under_way.next().await else { break };
            self.done(action, result, observed, round);
        }
    }

    fn done(
        &mut self,
        action: &Action,
        result: Result<(), ApplyError>,
        observed: &Observed,
        round: &mut Round,
    ) {
        self.counts.applied(action, &result, observed);
        match result {
            Ok(()) => {
                if let Action::Publish { certificate, .. } = action
                    && let Some(certificate) = observed.certificates.get(certificate)
                {
                    self.book.reset(&certificate.spec.authority);
                }
                round.applied += 1;
                self.said.remove(&action.about());
            }
            Err(error) if error.is_overtaken() => {
                debug!(action = action.kind(), %error, "overtaken");
                round.overtaken += 1;
            }
            Err(error) => {
                let what = format!("{} {}: {error}", action.kind(), action.about());
                self.say(&action.about(), &what);
                round.failed.push(what);
            }
        }
    }

    /// Begins the handshakes that are due; says how many are still wanted.
    async fn prove(&mut self, wanted: &[Prove], observed: &Observed, now: SystemTime) -> usize {
        for prove in self.book.due(wanted, now) {
            let Some(address) = observed
                .pods_of(&prove.pod.namespace)
                .iter()
                .find(|pod| pod.uid == prove.uid)
                .and_then(|pod| pod.agent.as_ref()?.address)
            else {
                continue;
            };
            let keyring = match self.applier.keyring(&prove.authority, observed).await {
                Ok(keyring) => keyring,
                Err(error) => {
                    debug!(%error, "no keyring to shake hands with");
                    let proof = Proof { at: now, shown: Err(error.to_string()) };
                    self.book.record(&prove.uid, proof, now);
                    continue;
                }
            };
            let results = self.results.0.clone();
            let proof = self.prober.prove(&keyring, address, &prove.roots, SystemTime::now());
            tokio::spawn(async move {
                let _ = results.send((prove.uid, proof.await)).await;
            });
        }
        wanted.len()
    }

    fn pause(&mut self, round: &Round, took: Duration) -> Pause {
        let until =
            round.wake_at.map_or(FLOOR, |at| at.duration_since(SystemTime::now()).unwrap_or_default());
        if !round.failed.is_empty() {
            self.failures = self.failures.saturating_add(1);
        } else if round.overtaken == 0 {
            self.failures = 0;
        }
        // However long the rounds are, half of the time is left to others.
        let at_least = took.min(Duration::from_secs(5)) / 2;
        let at_most = if !round.failed.is_empty() {
            retry(self.failures)
        } else if round.applied + round.overtaken > 0 {
            at_least
        } else if !self.look.is_empty() {
            let due = self.book.next_due().map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
            due.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN).min(until)
        } else {
            until.min(FLOOR)
        };
        Pause { at_least, at_most: at_most.max(at_least) }
    }

    async fn wait(&mut self, pause: Pause) {
        tokio::time::sleep(pause.at_least).await;
        let rest = pause.at_most - pause.at_least;
        tokio::select! {
            () = self.store.changed() => {}
            () = tokio::time::sleep(rest) => {}
            Some((uid, proof)) = self.results.1.recv() => self.book.record(&uid, proof, SystemTime::now()),
        }
    }

    /// Waits as `lead` does, for callers that go round by round.
    pub async fn until_next(&mut self, round: &Round) {
        let pause = self.pause(round, Duration::ZERO);
        self.wait(pause).await;
    }

    fn say(&mut self, about: &str, what: &str) {
        if self.said.get(about).is_none_or(|said| said != what) {
            warn!("{what}; trying again");
            self.said.insert(about.to_owned(), what.to_owned());
        }
    }
}

struct Pause {
    at_least: Duration,
    at_most: Duration,
}

fn retry(failures: u32) -> Duration {
    (RETRY.0 * 2_u32.pow(failures.min(8))).min(RETRY.1)
}
