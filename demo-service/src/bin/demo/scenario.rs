//! The story: what happens to the certificates while the load goes on.
//!
//! Every beat both services are given a new leaf; now and then one of them finds a broken candidate in
//! its place; half way through, the root is rolled over. The story asks, and the control plane does it:
//! no step is taken before the control plane saw, by handshake with every agent, what it needs.

use std::sync::Arc;
use std::time::Duration;

use hotcert::pki::authority::AuthorityError;
use hotcert::planner::observed::Observed;
use hotcert::store::{ObjectRef, StoreError};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::candidate::{Candidate, CandidateError, Kind};
use crate::control::ControlPlane;
use crate::fleet::{Fleet, FleetError, Workplace};
use crate::identity::{AUTHORITY, EVERYBODY, OUTSIDE, PAYMENTS, STOREFRONT, certificate, front};
use crate::outside::{Outside, Passport, PassportError};
use crate::prober::Prober;
use crate::progress::Progress;
use crate::sightings::Sightings;
use crate::tally::{Span, Tally};
use crate::witness::{
    self, Client, ECHO, Service, Witness, WitnessError, is_answered, is_published, is_served,
};

/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
/// Beats between broken candidates.
const BROKEN_EVERY: u32 = 4;
const BEATS_AT_LEAST: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    #[error(transparent)]
    Passport(#[from] PassportError),
    #[error(transparent)]
    Witness(#[from] WitnessError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("{service}-agent did not {what} within {PATIENCE:?}; its log says why")]
    AgentTooLate { service: &'static str, what: &'static str },
    #[error("the control plane did not {what} within {PATIENCE:?}; in its last round {trouble}")]
    TooLate { what: &'static str, trouble: String },
}

/// The identities before anything runs.
pub struct Beginning {
    control: ControlPlane,
    look: Observed,
    sightings: Arc<Sightings>,
}

pub struct Story {
    control: ControlPlane,
    witness: Witness,
    fleet: Fleet,
}

impl Beginning {
    /// Has the control plane make a root and publish the first leaves.
    pub async fn new(workplace: &Workplace) -> Result<Self, StoryError> {
        let mut control = ControlPlane::found(&workplace.store()).await?;
        let work = async {
            loop {
                let look = control.round().await?;
                if EVERYBODY.iter().all(|who| is_published(&look, who)) {
                    return Ok::<_, StoreError>(look);
                }
                control.rest().await;
            }
        };
        let worked = timeout(PATIENCE, work).await;
        let look = worked.map_err(|_| late("publish the first leaves", &control))??;
        let sightings = Arc::new(Sightings::default());
        for leaf in [STOREFRONT, PAYMENTS].iter().filter_map(|service| witness::first_leaf(&look, service)) {
            sightings.expect(leaf);
        }
        Ok(Self { control, look, sightings })
    }

    pub fn sightings(&self) -> &Arc<Sightings> {
        &self.sightings
    }

    pub fn outside(&self, workplace: &Workplace) -> Result<Arc<Outside>, StoryError> {
        let passport = Passport::read(&workplace.identity(OUTSIDE), &self.sightings)?;
        Ok(Arc::new(Outside::new(passport)))
    }

    pub fn story(
        self,
        workplace: &Workplace,
        fleet: Fleet,
        outside: Arc<Outside>,
        tally: Arc<Tally>,
        progress: Arc<Progress>,
    ) -> Story {
        let services = [STOREFRONT, PAYMENTS].map(|name| {
            let prober = Prober::start(front(&fleet, name), outside.clone(), tally.clone());
            Service::new(name, workplace.identity(name), prober, &self.look)
        });
        let client = Client::new(workplace.identity(OUTSIDE), outside);
        let Self { control, sightings, .. } = self;
        Story { control, witness: Witness { services, client, sightings, tally, progress }, fleet }
    }
}

impl Story {
    /// Tells it all, in about this time, and leaves the fleet running.
    pub async fn tell(mut self, length: Duration) -> Result<Fleet, StoryError> {
        let begun = Instant::now();
        let beat = Duration::from_secs(1).min(length / BEATS_AT_LEAST);
        let beats = (length.as_secs_f64() / beat.as_secs_f64()).round() as u32;
        let mut broken = 0;
        for number in 1..beats {
            sleep_until(begun + beat * number).await;
            self.fleet.check()?;
            if number == beats / 2 {
                self.roll_over().await?;
                continue;
            }
            self.rotate().await?;
            if number % BROKEN_EVERY == 2 {
                sleep_until(begun + beat * number + beat / 2).await;
                self.break_candidate(broken).await?;
                broken += 1;
            }
        }
        sleep_until(begun + length).await;
        self.fleet.check()?;
        Ok(self.fleet)
    }

    /// A new leaf for everybody; returns when the services' are served.
    async fn rotate(&mut self) -> Result<(), StoryError> {
        let mut asked = Vec::new();
        for who in EVERYBODY {
            asked.push((who, self.control.ask(&ObjectRef::Certificate(certificate(who)), "rotate").await?));
        }
        self.until("rotate the leaves", |look| {
            asked.iter().all(|(who, request)| {
                let done = if *who == OUTSIDE { is_published } else { is_served };
                is_answered(look, who, request) && done(look, who)
            })
        })
        .await
    }

    /// A candidate that must not be served; returns when the agent has refused it and the control plane
    /// has put in its place what belongs there.
    async fn break_candidate(&mut self, number: usize) -> Result<(), StoryError> {
        let Service { name, volume, .. } = &self.witness.services[number % self.witness.services.len()];
        let (service, volume) = (*name, volume.clone());
        let candidate = self.forge(Kind::ALL[number % Kind::ALL.len()], service).await?;
        self.witness.sightings.forbid(candidate.leaf);
        candidate.slip_into(&volume)?;
        self.witness.progress.broken_published();
        self.agent(service, "refuse a broken candidate", true).await?;
        self.until("replace a broken candidate", |look| is_served(look, service)).await?;
        self.agent(service, "find a good leaf in its place", false).await?;
        self.witness.progress.restored();
        Ok(())
    }

    async fn forge(&self, kind: Kind, service: &str) -> Result<Candidate, StoryError> {
        let keyring = self.control.keyring().await?;
        let root = keyring.signing().ok_or_else(|| StoreError::Missing("root that signs".into()))?;
        Ok(Candidate::broken(kind, root, service)?)
    }

    async fn roll_over(&mut self) -> Result<(), StoryError> {
        let begun = std::time::Instant::now();
        let request = self.control.ask(&ObjectRef::Authority(AUTHORITY.to_owned()), "rollover").await?;
        self.until("roll the root over", |look| {
            witness::ring(look).is_some_and(|ring| {
                ring.state.is_handled("rollover", &request) && ring.state.rollover().is_none()
            })
        })
        .await?;
        self.witness.tally.rotated(Span(begun, std::time::Instant::now() + ECHO));
        self.witness.progress.rolled_over();
        Ok(())
    }

    /// Has the control plane work until this is so.
    async fn until(
        &mut self,
        what: &'static str,
        done: impl Fn(&Observed) -> bool,
    ) -> Result<(), StoryError> {
        let Self { control, witness, .. } = self;
        let work = async {
            loop {
                let look = control.round().await?;
                witness.see(&look).await?;
                if done(&look) {
                    return Ok(());
                }
                control.rest().await;
            }
        };
        let worked = timeout(PATIENCE, work).await;
        worked.unwrap_or_else(|_| Err(late(what, &self.control)))
    }

    /// Waits until the agent refuses what is in its volume, or does not.
    async fn agent(
        &self,
        service: &'static str,
        what: &'static str,
        refuses: bool,
    ) -> Result<(), StoryError> {
        let poll = async {
            loop {
                let health = self.fleet.health(service).await;
                if health.is_some_and(|health| health["refused"]["leaf"].is_null() != refuses) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, poll).await.map_err(|_| StoryError::AgentTooLate { service, what })
    }
}

fn late(what: &'static str, control: &ControlPlane) -> StoryError {
    StoryError::TooLate { what, trouble: control.trouble() }
}
