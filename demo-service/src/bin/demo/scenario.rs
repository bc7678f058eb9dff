//! The scenario: what happens to the certificates under load.
//!
//! At every tick both services get a new leaf; every fourth tick a broken candidate is written to one of their volumes;
//! half way through, the root is rolled over. The scenario only requests this. The control plane does it, and takes each
//! step after handshakes with every agent have proved that it may.

use std::sync::Arc;
use std::time::Duration;

use hotcert::pki::authority::AuthorityError;
use hotcert::planner::observed::Observed;
use hotcert::store::{ObjectRef, StoreError};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::candidate::{Candidate, CandidateError, Defect};
use crate::client::{Client, Credentials, CredentialsError};
use crate::control::ControlPlane;
use crate::fleet::{Fleet, FleetError, Workspace};
use crate::identity::{AUTHORITY, CLIENT, IDENTITIES, PAYMENTS, STOREFRONT, certificate};
use crate::leaf_tracker::LeafTracker;
use crate::load_stats::{LoadStats, Span};
use crate::observer::{
    self, ClientUpdater, Observer, ObserverError, ROTATION_MARGIN, Service, is_handled, is_published,
    is_served,
};
use crate::prober::Prober;
use crate::progress::Progress;

/// For each step of the scenario; the demo fails when one takes longer.
const TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
/// Ticks between broken candidates.
const BROKEN_EVERY: u32 = 4;
const MIN_TICKS: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Observer(#[from] ObserverError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(
        "{service}-agent did not {what} within {}; its log says why",
        humantime::format_duration(TIMEOUT)
    )]
    AgentTimeout { service: &'static str, what: &'static str },
    #[error(
        "the control plane did not {what} within {}; errors of its last round: {errors}",
        humantime::format_duration(TIMEOUT)
    )]
    Timeout { what: &'static str, errors: String },
}

/// The control plane and the first identities, before anything else runs.
pub struct Setup {
    control: ControlPlane,
    observed: Observed,
    leaf_tracker: Arc<LeafTracker>,
}

pub struct Scenario {
    control: ControlPlane,
    observer: Observer,
    fleet: Fleet,
}

impl Setup {
    /// Has the control plane create a root and publish the first leaves.
    pub async fn new(workspace: &Workspace) -> Result<Self, ScenarioError> {
        let mut control = ControlPlane::create(&workspace.store()).await?;
        let rounds = async {
            loop {
                let observed = control.round().await?;
                if IDENTITIES.iter().all(|name| is_published(&observed, name)) {
                    return Ok::<_, StoreError>(observed);
                }
                control.wait().await;
            }
        };
        let result = timeout(TIMEOUT, rounds).await;
        let observed = result.map_err(|_| timed_out("publish the first leaves", &control))??;
        let leaf_tracker = Arc::new(LeafTracker::default());
        for leaf in
            [STOREFRONT, PAYMENTS].iter().filter_map(|service| observer::first_leaf(&observed, service))
        {
            leaf_tracker.expect(leaf);
        }
        Ok(Self { control, observed, leaf_tracker })
    }

    pub fn leaf_tracker(&self) -> &Arc<LeafTracker> {
        &self.leaf_tracker
    }

    pub fn client(&self, workspace: &Workspace) -> Result<Arc<Client>, ScenarioError> {
        let credentials = Credentials::read(&workspace.identity(CLIENT), &self.leaf_tracker)?;
        Ok(Arc::new(Client::new(credentials)))
    }

    pub fn scenario(
        self,
        workspace: &Workspace,
        fleet: Fleet,
        client: Arc<Client>,
        load_stats: Arc<LoadStats>,
        progress: Arc<Progress>,
    ) -> Scenario {
        let services = [STOREFRONT, PAYMENTS].map(|name| {
            let prober = Prober::start(fleet.service_address(name), client.clone(), load_stats.clone());
            Service::new(name, workspace.identity(name), prober, &self.observed)
        });
        let client = ClientUpdater::new(workspace.identity(CLIENT), client);
        let Self { control, leaf_tracker, .. } = self;
        Scenario {
            control,
            observer: Observer { services, client, leaf_tracker, load_stats, progress },
            fleet,
        }
    }
}

impl Scenario {
    /// Runs for about this time, and leaves the fleet running.
    pub async fn run(mut self, length: Duration) -> Result<Fleet, ScenarioError> {
        let begun = Instant::now();
        let tick = Duration::from_secs(1).min(length / MIN_TICKS);
        let ticks = (length.as_secs_f64() / tick.as_secs_f64()).round() as u32;
        let mut broken = 0;
        for number in 1..ticks {
            sleep_until(begun + tick * number).await;
            self.fleet.check()?;
            if number == ticks / 2 {
                self.roll_over().await?;
                continue;
            }
            self.rotate().await?;
            if number % BROKEN_EVERY == 2 {
                sleep_until(begun + tick * number + tick / 2).await;
                self.break_candidate(broken).await?;
                broken += 1;
            }
        }
        sleep_until(begun + length).await;
        self.fleet.check()?;
        Ok(self.fleet)
    }

    /// Requests a new leaf for every identity; returns when the services serve theirs.
    async fn rotate(&mut self) -> Result<(), ScenarioError> {
        let mut requests = Vec::new();
        for name in IDENTITIES {
            requests.push((
                name,
                self.control.request(&ObjectRef::Certificate(certificate(name)), "rotate").await?,
            ));
        }
        self.until("rotate the leaves", |observed| {
            requests.iter().all(|(name, request)| {
                let done = if *name == CLIENT { is_published } else { is_served };
                is_handled(observed, name, request) && done(observed, name)
            })
        })
        .await
    }

    /// Writes a candidate that must not be served to a volume; returns when the agent has rejected it and the control
    /// plane has replaced it.
    async fn break_candidate(&mut self, number: usize) -> Result<(), ScenarioError> {
        let Service { name, volume, .. } = &self.observer.services[number % self.observer.services.len()];
        let (service, volume) = (*name, volume.clone());
        let candidate = self.broken_candidate(Defect::ALL[number % Defect::ALL.len()], service).await?;
        self.observer.leaf_tracker.forbid(candidate.leaf);
        candidate.write_to(&volume)?;
        self.observer.progress.broken_published();
        self.wait_for_agent(service, "reject a broken candidate", true).await?;
        self.until("replace a broken candidate", |observed| is_served(observed, service)).await?;
        self.wait_for_agent(service, "read the leaf that replaced it", false).await?;
        self.observer.progress.restored();
        Ok(())
    }

    async fn broken_candidate(&self, defect: Defect, service: &str) -> Result<Candidate, ScenarioError> {
        let keyring = self.control.keyring().await?;
        let root = keyring.signing().ok_or_else(|| StoreError::Missing("signing root".into()))?;
        Ok(Candidate::broken(defect, root, service)?)
    }

    async fn roll_over(&mut self) -> Result<(), ScenarioError> {
        let begun = std::time::Instant::now();
        let request = self.control.request(&ObjectRef::Authority(AUTHORITY.to_owned()), "rollover").await?;
        self.until("roll over the root", |observed| {
            observer::keyring(observed).is_some_and(|keyring| {
                keyring.state.is_handled("rollover", &request) && keyring.state.rollover().is_none()
            })
        })
        .await?;
        self.observer.load_stats.rotated(Span(begun, std::time::Instant::now() + ROTATION_MARGIN));
        self.observer.progress.rolled_over();
        Ok(())
    }

    /// Runs rounds of the control plane until `done`.
    async fn until(
        &mut self,
        what: &'static str,
        done: impl Fn(&Observed) -> bool,
    ) -> Result<(), ScenarioError> {
        let Self { control, observer, .. } = self;
        let rounds = async {
            loop {
                let observed = control.round().await?;
                observer.observe(&observed).await?;
                if done(&observed) {
                    return Ok(());
                }
                control.wait().await;
            }
        };
        let result = timeout(TIMEOUT, rounds).await;
        result.unwrap_or_else(|_| Err(timed_out(what, &self.control)))
    }

    /// Waits until the agent rejects the leaf in its volume, or no longer does.
    async fn wait_for_agent(
        &self,
        service: &'static str,
        what: &'static str,
        rejects: bool,
    ) -> Result<(), ScenarioError> {
        let poll = async {
            loop {
                let health = self.fleet.health(service).await;
                if health.is_some_and(|health| health["refused"]["leaf"].is_null() != rejects) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        timeout(TIMEOUT, poll).await.map_err(|_| ScenarioError::AgentTimeout { service, what })
    }
}

fn timed_out(what: &'static str, control: &ControlPlane) -> ScenarioError {
    ScenarioError::Timeout { what, errors: control.last_errors() }
}
