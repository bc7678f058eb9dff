//! The loop: observe, plan, apply, and wait for a change. A round that finds nothing to do costs one read of
//! what the store has in memory; between rounds nothing is read at all.

mod tidying;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::apply::{Applier, ApplyError};
use super::failed_actions::{self, FailedActions};
use super::metrics::ReconcileMetrics;
use super::pod_cache::PodCache;
use super::problem_log::ProblemLog;
use crate::api::object_name::ObjectName;
use crate::api::settings::ClusterDomain;
use crate::external::sync::ExternalSync;
use crate::notify::dispatcher::{Dispatcher, WaitOutcome};
use crate::planner::observed::Observed;
use crate::planner::{Action, Plan, Planner, Transition};
use crate::proof::Prober;
use crate::runtime::proofs::Probing;
use crate::store::{Store, StoreError};
use tidying::Tidying;

/// How many writes run at the same time.
const MAX_WRITES: usize = 32;
/// A round starts no more writes after this time: the rest is planned again on the state by then, so that a
/// long plan or a slow namespace delays nothing else.
const MAX_ROUND: Duration = Duration::from_secs(5);
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// What was not issued, since too much waits to be published, is planned again by then.
const ISSUE_AGAIN: Duration = Duration::from_secs(5);
/// How many pods are nudged in one round.
const MAX_NUDGES: usize = 50;
/// The longest time between two rounds, in case a change was missed.
const RESYNC: Duration = Duration::from_secs(10 * 60);

pub struct Reconciler<S> {
    store: Arc<S>,
    applier: Arc<Applier<S>>,
    dispatcher: Dispatcher,
    external_sync: ExternalSync,
    probing: Probing,
    pods: PodCache,
    planner: Planner,
    /// Whether pods may be nudged.
    nudge: bool,
    cluster_domain: ClusterDomain,
    metrics: ReconcileMetrics,
    /// When the gauges were made of what was observed.
    recorded_at: Option<Instant>,
    tidying: Tidying,
    /// How often in a row the store could not be read.
    failed_reads: u32,
    failed_actions: FailedActions,
    problem_log: ProblemLog,
    leading_since: SystemTime,
}

/// What one round did.
#[derive(Debug, Default)]
pub struct Round {
    pub applied: usize,
    pub failed: Vec<String>,
    pub conflicts: usize,
    /// Actions that failed recently and were not tried.
    pub backing_off: usize,
    /// Nothing was planned, and no pod has to be listed.
    pub settled: bool,
    pub wake_at: Option<SystemTime>,
    /// How many objects were planned.
    pub planned: usize,
    /// What it took to observe and to plan.
    planning: Duration,
    pub observed: Observed,
    /// Secrets that were written.
    published: BTreeSet<ObjectName>,
    /// Pods, and the revision that each was nudged for.
    nudged: Vec<(ObjectName, u64)>,
}

impl Round {
    fn wake_by(&mut self, at: SystemTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

struct Pause {
    at_least: Duration,
    at_most: Duration,
}

impl<S: Store> Reconciler<S> {
    /// Without notifications and external managers.
    pub fn new(store: Arc<S>, prober: Prober, nudge: bool, metrics: ReconcileMetrics) -> Self {
        let external_sync = ExternalSync::disabled();
        Self {
            applier: Arc::new(Applier::new(Arc::clone(&store), external_sync.fetch_cache())),
            store,
            dispatcher: Dispatcher::disabled(),
            external_sync,
            probing: Probing::new(prober),
            pods: PodCache::default(),
            planner: Planner::default(),
            nudge,
            cluster_domain: ClusterDomain::default(),
            metrics,
            recorded_at: None,
            tidying: Tidying::default(),
            failed_reads: 0,
            failed_actions: FailedActions::default(),
            problem_log: ProblemLog::default(),
            leading_since: SystemTime::now(),
        }
    }

    #[must_use]
    pub fn with_external(mut self, dispatcher: Dispatcher, external_sync: ExternalSync) -> Self {
        self.dispatcher = dispatcher;
        self.applier = Arc::new(Applier::new(Arc::clone(&self.store), external_sync.fetch_cache()));
        self.external_sync = external_sync;
        self
    }

    /// Of authorities whose spec names none.
    #[must_use]
    pub fn with_cluster_domain(mut self, domain: ClusterDomain) -> Self {
        self.cluster_domain = domain;
        self
    }

    /// Runs while `leading` is true, waits while it is not, and ends when its sender is dropped.
    pub async fn run(mut self, mut leading: watch::Receiver<bool>) {
        while leading.wait_for(|leads| *leads).await.is_ok() {
            tokio::select! {
                // Looked at first: a process that was stopped starts no write when it goes on.
                biased;
                lost = async { leading.wait_for(|leads| !*leads).await.is_ok() } => {
                    self.metrics.clear_observed();
                    self.dispatcher.clear_waiting();
                    if !lost {
                        return;
                    }
                    info!("not leading any more");
                }
                () = self.lead() => {}
            }
            self.forget();
        }
    }

    /// Another replica may have led since: nothing counts that this one remembers from before. Notifications are the
    /// exception: that one was delivered stays true.
    fn forget(&mut self) {
        self.applier.forget_all_keyrings();
        self.probing.forget();
        self.external_sync.forget();
        self.pods = PodCache::default();
        self.planner = Planner::default();
        self.recorded_at = None;
        self.failed_reads = 0;
        self.failed_actions = FailedActions::default();
        self.problem_log = ProblemLog::default();
    }

    async fn lead(&mut self) {
        self.leading_since = SystemTime::now();
        // Its watches may have hung while it did not lead.
        self.store.relist().await;
        loop {
            let pause = match self.round().await {
                Ok(round) => self.pause(&round),
                Err(error) => {
                    self.log_once("look", &error.to_string());
                    self.failed_reads = self.failed_reads.saturating_add(1);
                    let pause = failed_actions::RETRY.delay(self.failed_reads);
                    Pause { at_least: pause, at_most: pause }
                }
            };
            self.wait(pause).await;
        }
    }

    /// Observes once, and does all that follows from it.
    pub async fn round(&mut self) -> Result<Round, StoreError> {
        let begin = Instant::now();
        let mut observed = self.store.observe().await?;
        let observing = begin.elapsed();
        self.failed_reads = 0;
        self.applier.begin_round(&observed);
        self.probing.record_results(SystemTime::now());
        self.dispatcher.collect_results();
        observed.nudge = self.nudge;
        observed.cluster_domain = self.cluster_domain.clone();
        // A clock that was set back since leaves nothing that was seen later.
        self.leading_since = self.leading_since.min(SystemTime::now());
        observed.leading_since = Some(self.leading_since);
        observed.pods = self.probing.run_beside(self.pods.refresh(self.store.as_ref())).await;
        self.probing.attach(&mut observed.pods, SystemTime::now());
        for error in &observed.read_errors {
            self.log_once(error, error);
        }
        observed.failed_actions = self.failed_actions.reported();
        // After everything was read: what is dated later than this comes from a clock that was set.
        let now = SystemTime::now();
        observed.notification_rules = self.dispatcher.rules();
        observed.external = self.external_sync.observe();
        observed.notification_settings = self.dispatcher.settings();
        if matches!(observed.notification_settings, Some(Err(_))) {
            // Settings that were never valid name no managers, which says nothing of the certificates that use one.
            observed.external.managers.take_if(|managers| managers.is_empty());
        }
        observed.delivered_notifications = self.dispatcher.delivered();
        observed.overdue_notifications = self.dispatcher.undelivered(now);
        let begin = Instant::now();
        let plan = self.planner.plan(&observed, now);
        self.metrics.record_planned(self.planner.planned(), begin.elapsed());
        let planning = observing + begin.elapsed();
        let (wake_at, planned) = (plan.wake_at, self.planner.planned());
        let mut round = Round { wake_at, planned, planning, ..Round::default() };
        self.apply(&plan, &observed, now, &mut round).await;
        self.probing.request(&plan.probes, &self.applier, &observed, now).await;
        self.dispatcher.set_desired(&plan.notifications, now);
        self.dispatcher.send(now);
        self.external_sync.set_desired(&plan, &observed);
        self.external_sync.send(&self.store, now);
        round.settled = plan.is_settled();
        // While there is much to do the gauges follow within a second: they are made of all objects.
        if round.settled
            || round.applied == 0
            || self.recorded_at.is_none_or(|at| at.elapsed() >= RECORD_EVERY)
        {
            self.metrics.record_observed(&observed);
            self.recorded_at = Some(Instant::now());
        }
        self.pods.keep(std::mem::take(&mut observed.pods), &plan, &round.nudged);
        if self.pods.is_empty() {
            self.probing.attach(&mut BTreeMap::new(), now);
        }
        round.observed = observed;
        Ok(round)
    }

    async fn apply(&mut self, plan: &Plan, observed: &Observed, now: SystemTime, round: &mut Round) {
        self.failed_actions.retain(&plan.actions);
        let failed = &self.failed_actions;
        self.problem_log.retain(|problem| {
            failed.contains(problem) || observed.read_errors.iter().any(|error| error == problem)
        });
        let changed = self.apply_transitions(plan, observed, now, round).await;
        let mut actions = Vec::new();
        let (mut nudges, mut room_to_issue) = (0, self.applier.room_to_issue());
        for action in plan.actions.iter().filter(|action| !is_transition(action)) {
            // What was planned for the keyring before a transition waits for the next round.
            if authority_of(action, observed).is_some_and(|authority| changed.contains(authority))
                || self.is_backing_off(action, round)
            {
                continue;
            }
            if matches!(action, Action::Nudge { .. }) {
                nudges += 1;
                if nudges > MAX_NUDGES {
                    continue;
                }
            }
            if matches!(action, Action::Issue { .. }) {
                if room_to_issue == 0 {
                    round.wake_by(now + ISSUE_AGAIN);
                    continue;
                }
                room_to_issue -= 1;
            }
            actions.push(action);
        }
        // Pods that are waited for come first.
        let is_busy = !plan.probes.is_empty();
        if let Some(due) = self.tidying.postpone(&mut actions, is_busy, Instant::now()) {
            round.wake_by(now + due);
        }
        // The status is written after what it tells of, and what was issued is published before more is.
        let is_issue = |action: &Action| matches!(action, Action::Issue { .. });
        actions.sort_by_key(|action| (action.is_tidying(), action.is_status_update(), is_issue(action)));
        self.apply_concurrently(actions, observed, now, round).await;
        if !round.published.is_empty() {
            self.probing.expect_change(&round.published, &observed.pods);
        }
    }

    /// One after the other. Returns the authorities whose keyring was changed, or may have been.
    async fn apply_transitions<'p>(
        &mut self,
        plan: &'p Plan,
        observed: &Observed,
        now: SystemTime,
        round: &mut Round,
    ) -> BTreeSet<&'p str> {
        let mut changed = BTreeSet::new();
        for action in plan.actions.iter().filter(|action| is_transition(action)) {
            if self.is_backing_off(action, round) {
                continue;
            }
            let result = self.applier.apply(action, observed, now).await;
            // A failed transition does not keep the authority's certificates from being renewed.
            let may_have_changed = result.as_ref().map_or_else(ApplyError::is_conflict, |()| true);
            if let (Action::Authority { authority, .. }, true) = (action, may_have_changed) {
                changed.insert(authority.as_str());
            }
            self.record(action, result, observed, round);
        }
        changed
    }

    async fn apply_concurrently(
        &mut self,
        actions: Vec<&Action>,
        observed: &Observed,
        now: SystemTime,
        round: &mut Round,
    ) {
        if actions.len() > MAX_WRITES {
            info!(actions = actions.len(), "a large plan");
        }
        let applier = Arc::clone(&self.applier);
        let (mut actions, mut running) = (actions.into_iter(), FuturesUnordered::new());
        let begin = Instant::now();
        loop {
            let is_over = begin.elapsed() > MAX_ROUND;
            let room = if is_over { 0 } else { MAX_WRITES - running.len() };
            for action in actions.by_ref().take(room) {
                let applier = Arc::clone(&applier);
                running.push(async move { (action, applier.apply(action, observed, now).await) });
            }
            let Some((action, result)) = self.probing.run_beside(running.next()).await else { break };
            self.record(action, result, observed, round);
        }
    }

    fn is_backing_off(&self, action: &Action, round: &mut Round) -> bool {
        let is_backing_off = self.failed_actions.is_backing_off(action);
        round.backing_off += usize::from(is_backing_off);
        is_backing_off
    }

    fn record(
        &mut self,
        action: &Action,
        result: Result<(), ApplyError>,
        observed: &Observed,
        round: &mut Round,
    ) {
        self.metrics.record_applied(action, &result, observed);
        match result {
            Ok(()) => {
                self.record_effect(action, round);
                round.applied += 1;
                self.failed_actions.record_success(action);
            }
            Err(error) if error.is_conflict() => {
                debug!(action = action.kind(), %error, "conflict");
                round.conflicts += 1;
                self.failed_actions.record_failure(action, &error);
            }
            Err(error) => {
                let message = format!("{} {}: {error}", action.kind(), action.object());
                self.log_once(&failed_actions::target(action), &message);
                self.failed_actions.record_failure(action, &error);
                round.failed.push(message);
            }
        }
    }

    /// What pods may show now that they did not before.
    fn record_effect(&mut self, action: &Action, round: &mut Round) {
        match action {
            Action::Publish { certificate, secret, .. } => {
                self.pods.record_publication(&certificate.namespace);
                round.published.insert(ObjectName::new(certificate.namespace.clone(), secret.clone()));
            }
            Action::Authority { transition: Transition::ChangeLedger(_), .. } => {}
            Action::Authority { .. } => self.pods.record_transition(),
            Action::Nudge { pod, revision } => round.nudged.push((pod.clone(), *revision)),
            _ => {}
        }
    }

    fn pause(&self, round: &Round) -> Pause {
        let now = SystemTime::now();
        // However long planning takes, a third of the time is left to other work.
        let at_least = round.planning.min(MAX_ROUND) / 2;
        let wake_in = round.wake_at.map(|at| at.duration_since(now).unwrap_or_default());
        let after_write = (round.applied > 0).then_some(at_least);
        let relist_in = self.pods.next_refresh(now);
        let retry_in = self.failed_actions.next_retry();
        let retry_in = retry_in.map(|at| at.saturating_duration_since(Instant::now()));
        let due = [wake_in, after_write, relist_in, retry_in];
        let at_most = due.into_iter().flatten().min().unwrap_or(RESYNC).min(RESYNC);
        Pause { at_least, at_most: at_most.max(at_least) }
    }

    /// Until the next round is due. Meanwhile probes are run: their results are planned on when all of them
    /// have arrived, or when the time is up.
    async fn wait(&mut self, pause: Pause) {
        let begin = Instant::now();
        let (least, most) = (begin + pause.at_least, begin + pause.at_most);
        // A delivery has to be recorded in a status, and what was fetched has to be published.
        let (mut delivered, mut fetched) = (false, false);
        loop {
            let (now, clock) = (Instant::now(), SystemTime::now());
            let due = [self.probing.next_due(), self.dispatcher.next_due(), self.external_sync.next_due()];
            let due = due.into_iter().flatten().min();
            let due = due.map(|due| now + due.duration_since(clock).unwrap_or_default());
            let next = [Some(most), due, Some(least).filter(|least| *least > now)];
            let next = next.into_iter().flatten().min().unwrap_or(most);
            tokio::select! {
                () = self.store.changed(), if now >= least => return,
                () = tokio::time::sleep_until(next.into()) => {}
                outcome = self.dispatcher.wait() => {
                    delivered |= outcome == WaitOutcome::Delivered;
                    if outcome == WaitOutcome::ConfigChanged {
                        return;
                    }
                }
                () = self.external_sync.wait() => fetched = true,
                () = self.probing.next_result(clock) => {
                    if now >= least && self.probing.is_idle(clock) {
                        return;
                    }
                }
            }
            let now = Instant::now();
            if now >= most || now >= least && (fetched || delivered && self.dispatcher.is_idle()) {
                return;
            }
            self.probing.start_due(SystemTime::now());
            self.dispatcher.send(SystemTime::now());
            self.external_sync.send(&self.store, SystemTime::now());
        }
    }

    /// Waits as [`run`](Self::run) does, for callers that run round by round.
    pub async fn wait_for_next_round(&mut self, round: &Round) {
        let pause = self.pause(round);
        self.wait(pause).await;
    }

    fn log_once(&mut self, problem: &str, message: &str) {
        if self.problem_log.is_news(problem, message) {
            warn!("{message}; trying again");
        }
    }
}

fn is_transition(action: &Action) -> bool {
    matches!(action, Action::Authority { .. })
}

/// The authority of the certificate for which a leaf is stored or published.
fn authority_of<'o>(action: &Action, observed: &'o Observed) -> Option<&'o str> {
    match action {
        Action::Issue { certificate, .. }
        | Action::RollBack { certificate, .. }
        | Action::Publish { certificate, .. } => {
            Some(observed.certificates.get(certificate)?.spec.authority.as_str())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
