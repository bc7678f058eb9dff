//! The loop: look, plan, apply, and wait for something to change. A round that finds nothing to do costs
//! one look at what the store has in memory; between rounds nothing is asked of anybody.
//!
//! Handshakes with pods go on beside the rounds: a pod that does not answer delays nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::external::sync::ExternalSync;
use crate::notify::dispatcher::{Dispatcher, WaitOutcome};
use crate::pki::keyring::Keyring;
use crate::planner::observed::{Observed, PodList, Proof};
use crate::planner::{Action, Plan, ProbeRequest, plan};
use crate::probe::{Prober, ProofSchedule};
use crate::runtime::apply::{Applier, ApplyError};
pub use crate::runtime::metrics::Counts;
use crate::store::{Store, StoreError};

/// Writes under way at the same time.
const AT_ONCE: usize = 32;
/// After so long a round begins no more writes: what is left is planned again, on what is known by then,
/// so that a long list or a slow namespace keeps nobody waiting.
const LONGEST_ROUND: Duration = Duration::from_secs(5);
/// Handshakes under way at the same time.
const HANDSHAKES: usize = 64;
/// Pods that are nudged in one round; the others are in the next.
const NUDGES: usize = 50;
/// Between two lists of the same pods: a quarter of the time that nothing was written, between these.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a list of pods is of use, at most.
const STALE: Duration = Duration::from_secs(10 * 60);
/// Until something that failed is tried again: doubles up to the longer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// The same for what somebody else wrote first: mostly the next look knows better.
const OVERTAKEN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(30));
/// How often that may be before it counts as a failure.
const UNLUCKY: u32 = 6;
/// In case that a change was missed.
const FLOOR: Duration = Duration::from_secs(10 * 60);

pub struct Reconciler<S> {
    store: Arc<S>,
    applier: Arc<Applier<S>>,
    prober: Prober,
    book: ProofSchedule,
    dispatcher: Dispatcher,
    external_sync: ExternalSync,
    /// Of handshakes, by the pod's uid.
    results: (mpsc::Sender<Seen>, mpsc::Receiver<Seen>),
    look: BTreeSet<String>,
    /// By namespace, as they were listed last.
    looks: BTreeMap<String, PodList>,
    /// When something was written last.
    wrote: SystemTime,
    nudge: bool,
    counts: Counts,
    /// Looks that failed, one after the other.
    blind: u32,
    /// Of the authorities that proofs are wanted for, or why there is none.
    keyrings: BTreeMap<String, Result<Arc<Keyring>, String>>,
    /// By object: what could not be done to it.
    setbacks: BTreeMap<String, FailureBackoff>,
    /// What was logged last of each problem, so that it is not said again every round.
    said: BTreeMap<String, String>,
}

/// Something could not be done, and is left alone for a while.
struct FailureBackoff {
    tries: u32,
    again: Instant,
    why: String,
}

type Seen = (String, Proof);

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    pub applied: usize,
    pub failed: Vec<String>,
    pub conflict: usize,
    /// Failed a moment ago, and not tried.
    pub left_alone: usize,
    /// Authorities of which a Secret was written; `None`: of a certificate that has none.
    published: BTreeSet<Option<String>>,
    /// Nothing was to be done, and no pod has to be looked at.
    pub settled: bool,
    pub wake_at: Option<SystemTime>,
    pub observed: Observed,
}

impl<S: Store> Reconciler<S> {
    /// `nudge`: whether pods may be told to look at their volumes.
    pub fn new(store: Arc<S>, prober: Prober, nudge: bool, counts: Counts) -> Self {
        let external_sync = ExternalSync::disabled();
        Self {
            dispatcher: Dispatcher::disabled(),
            applier: Arc::new(Applier::new(Arc::clone(&store), external_sync.fetch_cache())),
            external_sync,
            store,
            prober,
            book: ProofSchedule::default(),
            results: mpsc::channel(HANDSHAKES),
            look: BTreeSet::new(),
            looks: BTreeMap::new(),
            wrote: UNIX_EPOCH,
            nudge,
            counts,
            blind: 0,
            keyrings: BTreeMap::new(),
            setbacks: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Who tells others what happens, and who goes to managers.
    #[must_use]
    pub fn with(mut self, dispatcher: Dispatcher, external_sync: ExternalSync) -> Self {
        self.dispatcher = dispatcher;
        self.applier = Arc::new(Applier::new(Arc::clone(&self.store), external_sync.fetch_cache()));
        self.external_sync = external_sync;
        self
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
                    self.blind = self.blind.saturating_add(1);
                    let pause = doubled(RETRY, self.blind);
                    Pause { at_least: pause, at_most: pause }
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
        self.dispatcher.collect_results();
        self.blind = 0;
        self.look_at_pods().await;
        // As a whole, so that nothing is lost of a namespace that was not listed now.
        observed.pods = std::mem::take(&mut self.looks);
        self.book.attach(&mut observed.pods);
        for problem in &observed.read_errors {
            self.say(problem, problem);
        }
        observed.failed_actions = self
            .setbacks
            .iter()
            .filter(|(_, setback)| !setback.why.is_empty())
            .map(|(about, setback)| (about.clone(), setback.why.clone()))
            .collect();
        // After everything was seen: what seems to be of the future is a clock that was set.
        let now = SystemTime::now();
        observed.notification_rules = self.dispatcher.rules();
        observed.external = self.external_sync.observe();
        (observed.delivered_notifications, observed.overdue_notifications) =
            (self.dispatcher.delivered(), self.dispatcher.undelivered(now));
        let plan = plan(&observed, now);
        self.counts.observe(&observed);
        let mut round = Round { wake_at: plan.wake_at, ..Round::default() };
        self.apply(&plan, &observed, now, &mut round).await;
        self.prove(&plan.probes, &observed, now).await;
        self.dispatcher.set_desired(&plan.notifications);
        self.dispatcher.send(now);
        self.external_sync.set_desired(&plan, &observed);
        self.external_sync.send(&self.store, now);
        round.settled = plan.actions.is_empty()
            && plan.list_pods.is_empty()
            && plan.probes.is_empty()
            && plan.notifications.is_empty()
            && plan.sync_tasks.is_empty();
        self.look = plan.list_pods;
        self.looks = std::mem::take(&mut observed.pods);
        self.looks
            .retain(|namespace, _| self.look.contains(namespace) || plan.retain_pods.contains(namespace));
        if self.looks.is_empty() {
            self.book.attach(&mut self.looks);
        }
        round.observed = observed;
        Ok(round)
    }

    /// Lists the pods of the namespaces that the last plan wants, unless they were listed a moment ago and
    /// nothing was written since.
    async fn look_at_pods(&mut self) {
        let now = SystemTime::now();
        let age = |look: &PodList| now.duration_since(look.listed_at).unwrap_or(STALE);
        self.looks.retain(|_, look| age(look) < STALE);
        let again = self.look_again(now);
        let is_fresh =
            |look: &PodList| look.listed_at > self.wrote && age(look) < again && look.error.is_none();
        let wanted = self.look.iter().filter(|namespace| !self.looks.get(*namespace).is_some_and(is_fresh));
        let wanted: BTreeSet<_> = wanted.cloned().collect();
        if !wanted.is_empty() {
            self.looks.extend(self.store.pods(&wanted).await);
        }
    }

    fn look_again(&self, now: SystemTime) -> Duration {
        let quiet = now.duration_since(self.wrote).unwrap_or_default();
        (quiet / 4).clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)
    }

    async fn apply(&mut self, plan: &Plan, observed: &Observed, now: SystemTime, round: &mut Round) {
        let planned: BTreeSet<_> = plan.actions.iter().map(setback_of).collect();
        self.setbacks.retain(|about, _| planned.contains(about));
        let is_turn = |action: &&Action| matches!(action, Action::Authority { .. });
        let mut turned = BTreeSet::new();
        for action in plan.actions.iter().filter(is_turn) {
            if self.is_left_alone(action, round) {
                continue;
            }
            let result = self.applier.apply(action, observed, now).await;
            // What fails does not keep its certificates from being renewed.
            let may_have_turned = result.as_ref().map_or_else(ApplyError::is_conflict, |()| true);
            if let (Action::Authority { authority, .. }, true) = (action, may_have_turned) {
                turned.insert(authority.as_str());
            }
            self.done(action, result, observed, round);
        }
        // What was planned for the state before a step waits for the next look.
        let waits = |action: &Action| match action {
            Action::Issue { certificate, .. }
            | Action::RollBack { certificate, .. }
            | Action::Publish { certificate, .. } => observed
                .certificates
                .get(certificate)
                .is_some_and(|certificate| turned.contains(certificate.spec.authority.as_str())),
            _ => false,
        };
        let mut nudges = 0;
        let mut others: Vec<&Action> = plan
            .actions
            .iter()
            .filter(|action| !is_turn(action) && !waits(action) && !self.is_left_alone(action, round))
            .filter(|action| {
                nudges += usize::from(matches!(action, Action::Nudge { .. }));
                !matches!(action, Action::Nudge { .. }) || nudges <= NUDGES
            })
            .collect();
        // What is done goes before what is said.
        others.sort_by_key(|action| action.is_status_update());
        if others.len() > AT_ONCE {
            info!(actions = others.len(), "a large plan");
        }
        let applier = Arc::clone(&self.applier);
        let (mut others, mut under_way) = (others.into_iter(), FuturesUnordered::new());
        let begin = Instant::now();
        loop {
            let is_over = begin.elapsed() > LONGEST_ROUND;
            let room = if is_over { 0 } else { AT_ONCE - under_way.len() };
            for action in others.by_ref().take(room) {
                let applier = Arc::clone(&applier);
                under_way.push(async move { (action, applier.apply(action, observed, now).await) });
            }
            let Some((action, result)) = under_way.next().await else { break };
            self.done(action, result, observed, round);
        }
        if round.applied > 0 {
            self.wrote = SystemTime::now();
        }
        for authority in std::mem::take(&mut round.published) {
            self.book.reset(authority.as_deref());
        }
    }

    /// It did not go well a moment ago, and is tried again later.
    fn is_left_alone(&self, action: &Action, round: &mut Round) -> bool {
        let setback = self.setbacks.get(&setback_of(action));
        let left = setback.is_some_and(|setback| setback.again > Instant::now());
        round.left_alone += usize::from(left);
        left
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
                    let authority = &certificate.spec.authority;
                    round.published.insert(Some(authority.clone()).filter(|authority| !authority.is_empty()));
                }
                round.applied += 1;
                let setback = setback_of(action);
                self.setbacks.remove(&setback);
                self.said.remove(&setback);
            }
            Err(error) if error.is_conflict() => {
                debug!(action = action.kind(), %error, "conflict");
                round.conflict += 1;
                self.set_back(action, &error, OVERTAKEN);
            }
            Err(error) => {
                let what = format!("{} {}: {error}", action.kind(), action.object());
                self.say(&setback_of(action), &what);
                self.set_back(action, &error, RETRY);
                round.failed.push(what);
            }
        }
    }

    fn set_back(&mut self, action: &Action, error: &ApplyError, pauses: (Duration, Duration)) {
        let new = || FailureBackoff { tries: 0, again: Instant::now(), why: String::new() };
        let setback = self.setbacks.entry(setback_of(action)).or_insert_with(new);
        setback.tries = setback.tries.saturating_add(1);
        setback.again = Instant::now() + doubled(pauses, setback.tries);
        if !error.is_conflict() || setback.tries > UNLUCKY {
            setback.why = format!("{}: {error}; it is tried again", action.kind());
        }
    }

    /// Begins the handshakes that are due.
    async fn prove(&mut self, wanted: &[ProbeRequest], observed: &Observed, now: SystemTime) {
        self.keyrings.clear();
        for authority in wanted.iter().filter_map(|prove| prove.authority.as_deref()).collect::<BTreeSet<_>>()
        {
            let keyring = self.applier.keyring(authority, observed).await;
            self.keyrings.insert(authority.to_owned(), keyring.map_err(|error| error.to_string()));
        }
        self.book.want(wanted);
        self.ask(now);
    }

    /// Nothing is waited for here: who is marked as being asked, is.
    fn ask(&mut self, now: SystemTime) {
        for prove in self.book.due(now) {
            let results = self.results.0.clone();
            let Some(authority) = &prove.authority else {
                let proof = self.prober.glance(prove.address, now);
                tokio::spawn(async move {
                    let _ = results.send((prove.uid, proof.await)).await;
                });
                continue;
            };
            let keyring = match self.keyrings.get(authority) {
                Some(Ok(keyring)) => keyring,
                problem => {
                    let why = problem.and_then(|problem| problem.as_ref().err()).cloned().unwrap_or_default();
                    self.book.record(
                        &prove.uid,
                        Proof { taken_at: now, leaf_since: now, result: Err(why) },
                        now,
                    );
                    continue;
                }
            };
            let proof = self.prober.prove(keyring, prove.address, &prove.roots, now);
            tokio::spawn(async move {
                let _ = results.send((prove.uid, proof.await)).await;
            });
        }
    }

    fn pause(&self, round: &Round, took: Duration) -> Pause {
        let now = SystemTime::now();
        let from_now = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        // However long the rounds are, half of the time is left to others.
        let at_least = took.min(Duration::from_secs(5)) / 2;
        let mut at_most = round.wake_at.map_or(FLOOR, from_now).min(FLOOR);
        if round.applied > 0 {
            at_most = at_least;
        }
        if !self.look.is_empty() {
            at_most = at_most.min(self.look_again(now));
        }
        let again = self.setbacks.values().map(|setback| setback.again).min();
        if let Some(again) = again {
            at_most = at_most.min(again.saturating_duration_since(Instant::now()));
        }
        Pause { at_least, at_most: at_most.max(at_least) }
    }

    /// Until the next round is worth it. Meanwhile pods are asked, one lot after the other: what they show
    /// is planned on when there is nobody left to be asked, or when the time is up.
    async fn wait(&mut self, pause: Pause) {
        let begin = Instant::now();
        let (least, most) = (begin + pause.at_least, begin + pause.at_most);
        // What arrived is to be written down, and what was fetched to be published.
        let (mut arrived, mut fetched) = (false, false);
        loop {
            let (now, clock) = (Instant::now(), SystemTime::now());
            let due = [self.book.next_due(), self.dispatcher.next_due(), self.external_sync.next_due()];
            let due = due.into_iter().flatten().min();
            let due = due.map(|due| now + due.duration_since(clock).unwrap_or_default());
            let next = [Some(most), due, Some(least).filter(|least| *least > now)];
            let next = next.into_iter().flatten().min().unwrap_or(most);
            tokio::select! {
                () = self.store.changed(), if now >= least => return,
                () = tokio::time::sleep_until(next.into()) => {}
                outcome = self.dispatcher.wait() => {
                    arrived |= outcome == WaitOutcome::Delivered;
                    if outcome == WaitOutcome::ConfigChanged {
                        return;
                    }
                }
                () = self.external_sync.wait() => fetched = true,
                Some((uid, proof)) = self.results.1.recv() => {
                    self.book.record(&uid, proof, clock);
                    while let Ok((uid, proof)) = self.results.1.try_recv() {
                        self.book.record(&uid, proof, clock);
                    }
                    if self.book.is_idle() && now >= least && self.book.next_due().is_none_or(|due| due > clock) {
                        return;
                    }
                }
            }
            let now = Instant::now();
            if now >= most || now >= least && (fetched || arrived && self.dispatcher.is_idle()) {
                return;
            }
            self.ask(SystemTime::now());
            self.dispatcher.send(SystemTime::now());
            self.external_sync.send(&self.store, SystemTime::now());
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

/// By what it is left alone: an object, or its status, which is a matter of its own.
fn setback_of(action: &Action) -> String {
    let about = action.object();
    if action.is_status_update() { format!("the status of {about}") } else { about }
}

struct Pause {
    at_least: Duration,
    at_most: Duration,
}

fn doubled((first, longest): (Duration, Duration), times: u32) -> Duration {
    (first * 2_u32.pow(times.min(16))).min(longest)
}
