//! The story: what happens to the certificates while the load goes on.
//!
//! Every beat both services get a new leaf; now and then one of them gets a broken candidate; half
//! way through, the root is rolled over. No step of the rollover is taken on trust: each waits until
//! handshakes from outside show, at every agent, what the next step needs.

use std::sync::Arc;
use std::time::Duration;

use hotcert::authority::{Authority, AuthorityError, Leaf};
use hotcert::volume::VolumeError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::candidate::{self, Kind};
use crate::fleet::{Fleet, FleetError, Workplace};
use crate::identity::{Identity, OUTSIDE, PAYMENTS, STOREFRONT, authority, front, issue, leaf_request};
use crate::outside::{Front, Outside, Passport, PassportError};
use crate::prober::Prober;
use crate::progress::Progress;
use crate::sightings::{Sightings, fingerprint};
use crate::tally::{Span, Tally};

/// How long an agent may take to do what is expected of it before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
/// Requests that begin this soon after a new leaf was served count as made while rotating.
const ECHO: Duration = Duration::from_millis(100);
/// Beats between broken candidates.
const BROKEN_EVERY: u32 = 4;
const BEATS_AT_LEAST: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Passport(#[from] PassportError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("{service}-agent did not {what} within {PATIENCE:?}")]
    TooLate { service: &'static str, what: &'static str },
}

/// The identities before anything runs.
pub struct Beginning {
    authority: Authority,
    storefront: Identity,
    payments: Identity,
    me: Leaf,
    sightings: Arc<Sightings>,
}

pub struct Story {
    authority: Authority,
    services: [Service; 2],
    me: Leaf,
    outside: Arc<Outside>,
    sightings: Arc<Sightings>,
    tally: Arc<Tally>,
    progress: Arc<Progress>,
    fleet: Fleet,
}

struct Service {
    identity: Identity,
    front: Front,
    prober: Prober,
}

impl Beginning {
    /// Makes a root and publishes the first leaves.
    pub fn new(workplace: &Workplace) -> Result<Self, StoryError> {
        let (authority, sightings) = (authority("first")?, Arc::new(Sightings::default()));
        let identity = |service| -> Result<Identity, StoryError> {
            let identity = Identity::new(service, &authority, workplace)?;
            sightings.expect(fingerprint(&identity.leaf.certificate_der));
            identity.publish(&[&authority])?;
            Ok(identity)
        };
        let (storefront, payments) = (identity(STOREFRONT)?, identity(PAYMENTS)?);
        let me = issue(&authority, OUTSIDE)?;
        Ok(Self { authority, storefront, payments, me, sightings })
    }

    pub fn sightings(&self) -> &Arc<Sightings> {
        &self.sightings
    }

    pub fn outside(&self) -> Result<Arc<Outside>, StoryError> {
        let passport = Passport::new(&self.me, &[&self.authority], &self.sightings)?;
        Ok(Arc::new(Outside::new(passport)))
    }

    pub fn story(
        self,
        fleet: Fleet,
        outside: Arc<Outside>,
        tally: Arc<Tally>,
        progress: Arc<Progress>,
    ) -> Story {
        let services = [self.storefront, self.payments].map(|identity| {
            let front = front(&fleet, identity.service);
            let prober = Prober::start(front.clone(), outside.clone(), tally.clone());
            Service { identity, front, prober }
        });
        let Self { authority, me, sightings, .. } = self;
        Story { authority, services, me, outside, sightings, tally, progress, fleet }
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
            for index in 0..self.services.len() {
                self.rotate(index, &[]).await?;
            }
            self.renew_passport(&[]).await?;
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

    /// A new leaf for one service; returns when it is served. Its bundle is the authority and `more`.
    async fn rotate(&mut self, index: usize, more: &[&Authority]) -> Result<(), StoryError> {
        let Self { authority, services, .. } = self;
        let Service { identity, prober, .. } = &mut services[index];
        identity.leaf = issue(authority, identity.service)?;
        let leaf = fingerprint(&identity.leaf.certificate_der);
        self.sightings.expect(leaf);
        let expected = prober.expect(leaf);
        let mut roots = more.to_vec();
        roots.push(authority);
        let published = identity.publish(&roots)?;
        let served = served(expected, identity.service).await?;
        let took = served.saturating_duration_since(published);
        self.progress.leaf_served(took);
        self.tally.rotated(Span(published, served + ECHO));
        if identity.service == STOREFRONT
            && let Some(number) = self.sightings.number(&leaf)
        {
            self.tally.serves(number);
        }
        Ok(())
    }

    /// A candidate that must not be served; returns when the agent has refused it.
    async fn break_candidate(&mut self, number: usize) -> Result<(), StoryError> {
        let identity = &self.services[number % self.services.len()].identity;
        let (service, kind) = (identity.service, Kind::ALL[number % Kind::ALL.len()]);
        let candidate = candidate::broken(kind, &self.authority, &leaf_request(service))?;
        self.sightings.forbid(candidate.leaf);
        identity.volume.publish(&[
            ("tls.crt", candidate.certificate.as_bytes()),
            ("tls.key", candidate.key.as_bytes()),
            ("ca.crt", self.authority.certificate_pem().as_bytes()),
        ])?;
        self.progress.broken_published();
        let fleet = &self.fleet;
        until(service, "refuse a broken candidate", async || {
            let health = fleet.health(service).await;
            health.is_some_and(|health| !health["refused"]["leaf"].is_null())
        })
        .await
    }

    async fn roll_over(&mut self) -> Result<(), StoryError> {
        self.progress.phase("distributing: old and new root trusted");
        let old = std::mem::replace(&mut self.authority, authority("second")?);
        let both = [&old, &self.authority];
        let newcomer = issue(&self.authority, OUTSIDE)?;
        let newcomer = Passport::new(&newcomer, &both, &self.sightings)?;
        let veteran = Passport::new(&self.me, &both, &self.sightings)?;
        self.outside.replace(veteran).await;
        for Service { identity, front, .. } in &self.services {
            let published = identity.publish(&both)?;
            until(identity.service, "trust the new root", async || newcomer.is_accepted(front).await).await?;
            self.tally.rotated(Span(published, std::time::Instant::now() + ECHO));
        }

        self.progress.phase("reissuing: new leaves under the new root");
        self.renew_passport(&[&old]).await?;
        for index in 0..self.services.len() {
            self.rotate(index, &[&old]).await?;
        }

        self.progress.phase("retiring: only the new root trusted");
        let leftover = issue(&old, OUTSIDE)?;
        let leftover = Passport::new(&leftover, &[&self.authority], &self.sightings)?;
        for Service { identity, front, .. } in &self.services {
            let published = identity.publish(&[&self.authority])?;
            until(identity.service, "refuse the old root", async || leftover.is_refused(front).await).await?;
            self.tally.rotated(Span(published, std::time::Instant::now() + ECHO));
        }
        self.renew_passport(&[]).await?;
        self.progress.rolled_over();
        Ok(())
    }

    /// A new identity for the client outside, which trusts the authority and `more`.
    async fn renew_passport(&mut self, more: &[&Authority]) -> Result<(), StoryError> {
        self.me = issue(&self.authority, OUTSIDE)?;
        let mut roots = more.to_vec();
        roots.push(&self.authority);
        self.outside.replace(Passport::new(&self.me, &roots, &self.sightings)?).await;
        Ok(())
    }
}

async fn served(
    expected: oneshot::Receiver<std::time::Instant>,
    service: &'static str,
) -> Result<std::time::Instant, StoryError> {
    match timeout(PATIENCE, expected).await {
        Ok(Ok(served)) => Ok(served),
        Ok(Err(_)) | Err(_) => Err(StoryError::TooLate { service, what: "serve a new leaf" }),
    }
}

async fn until(
    service: &'static str,
    what: &'static str,
    mut holds: impl AsyncFnMut() -> bool,
) -> Result<(), StoryError> {
    let poll = async {
        while !holds().await {
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, poll).await.map_err(|_| StoryError::TooLate { service, what })
}
