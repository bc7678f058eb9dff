//! Leader election among the replicas, by a Lease of the Kubernetes API. Two leaders would do no harm, since
//! every write names the version that it replaces; they would only do everything twice. So the lease saves
//! work. A leader stops leading when its time is up, whatever hangs; one that leads again trusts nothing that it
//! remembers.
//!
//! Whether the lease of another replica has expired is decided by how long it was seen unchanged on this
//! machine's own clock: the clocks of different machines are not compared.

mod term;

use std::time::{Duration, Instant};

use crate::api::duration;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

use term::{Attempt, REQUEST_TIMEOUT, Term};

pub const NAME: &str = "hotcert-controller";

/// A leader that has not renewed the lease for this long has lost it.
const LEASE_DURATION: Duration = Duration::from_secs(15);

pub struct Candidate {
    leases: Api<Lease>,
    /// Unique to this process.
    identity: String,
    leading: watch::Sender<bool>,
    other: Option<OtherLease>,
    term: Term,
}

/// The lease of another replica: its resource version, and since when it was seen unchanged.
struct OtherLease {
    version: Option<String>,
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// No replica holds it, or it has expired.
    Free,
    HeldHere,
    HeldByOther,
}

impl Candidate {
    pub fn new(client: Client, namespace: &str, identity: String) -> (Self, watch::Receiver<bool>) {
        let (leading, receiver) = watch::channel(false);
        let leases = Api::namespaced(client, namespace);
        (Self { leases, identity, leading, other: None, term: Term::default() }, receiver)
    }

    /// Runs until dropped, or until `stop` is true: then the lease is released, so that another replica need
    /// not wait until it expires.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let attempt = self.attempt().await;
            self.set_leading();
            let pause_ends = self.term.pause_ends(Instant::now(), attempt);
            tokio::select! {
                () = tokio::time::sleep_until(pause_ends.into()) => self.set_leading(),
                stopped = async { stop.wait_for(|stop| *stop).await.is_ok() } => {
                    if stopped && self.leading.send_replace(false) {
                        self.release().await;
                    }
                    return;
                }
            }
        }
    }

    /// Within the time that is left, if it leads.
    async fn attempt(&mut self) -> Attempt {
        let began = Instant::now();
        let end = self.term.attempt_ends(began);
        let attempt = match tokio::time::timeout_at(end.into(), self.try_acquire()).await {
            Ok(Ok(true)) => Attempt::Acquired,
            Ok(Ok(false)) => Attempt::HeldByOther,
            Ok(Err(error)) => {
                warn!(%error, "the lease could not be read or renewed");
                Attempt::Failed
            }
            Err(_) => {
                let timeout = duration::format(end - began);
                warn!(timeout, "the lease could not be read or renewed: no response in time");
                Attempt::Failed
            }
        };
        self.term.record(began, attempt);
        attempt
    }

    fn set_leading(&self) {
        let leads = self.term.leads(Instant::now());
        self.leading.send_if_modified(|leading| {
            let changed = *leading != leads;
            if changed {
                info!(identity = self.identity, leads, "leadership");
            }
            *leading = leads;
            changed
        });
    }

    async fn try_acquire(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.claimed_spec(None)) };
            return is_won(self.leases.create(&PostParams::default(), &lease).await);
        };
        match self.claim(&lease, Instant::now()) {
            Claim::HeldByOther => Ok(false),
            Claim::HeldHere | Claim::Free => {
                let spec = Some(self.claimed_spec(lease.spec.as_ref()));
                let lease = Lease { spec, ..lease };
                is_won(self.leases.replace(NAME, &PostParams::default(), &lease).await)
            }
        }
    }

    fn claim(&mut self, lease: &Lease, now: Instant) -> Claim {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() {
            return Claim::Free;
        }
        if holder == self.identity {
            return Claim::HeldHere;
        }
        let version = lease.metadata.resource_version.clone();
        let other = self.other.take().filter(|other| other.version == version);
        let other = other.unwrap_or(OtherLease { version, since: now });
        let duration =
            spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(LEASE_DURATION, Duration::from_secs);
        let is_expired = now.duration_since(other.since) > duration;
        self.other = Some(other);
        if is_expired { Claim::Free } else { Claim::HeldByOther }
    }

    fn claimed_spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let is_renewal =
            before.is_some_and(|before| before.holder_identity.as_deref() == Some(&self.identity));
        let before = before.cloned().unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: if is_renewal { before.acquire_time } else { Some(now.clone()) },
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!is_renewal)),
            renew_time: Some(now),
            ..before
        }
    }

    async fn release(&self) {
        let release = async {
            let mut lease = self.leases.get(NAME).await?;
            if let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                self.leases.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, release).await {
            Ok(Ok(())) => info!("gave the lease back"),
            Ok(Err(error)) => warn!(%error, "the lease could not be given back"),
            Err(_) => warn!("the lease could not be given back in time"),
        }
    }
}

/// The replica that writes first has it.
fn is_won(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The pod's name, and a random part that a second process of that name would not share.
pub fn identity() -> String {
    let mut random = [0; 4];
    let _ = aws_lc_rs::rand::fill(&mut random);
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".into());
    format!("{host}_{}", hex::encode(random))
}
