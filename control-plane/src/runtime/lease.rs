//! One leader among several replicas, by a Lease of the Kubernetes API. Two leaders would do no harm,
//! since every write says what it is written over; they would only do everything twice. So the lease is
//! about economy, and it errs on the side of somebody leading.
//!
//! Whether another's lease has run out is judged by how long it was seen unchanged on this machine's
//! own clock: clocks of different machines are not compared.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

pub const NAME: &str = "hotcert-controller";

/// A leader that has not renewed for this long is taken to be gone.
const DURATION: Duration = Duration::from_secs(15);
/// One that could not renew for this long stops, before anybody else begins.
const GIVE_UP: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub struct Candidate {
    leases: Api<Lease>,
    /// Of this replica, and of no other.
    identity: String,
    leading: watch::Sender<bool>,
    seen: Option<Seen>,
    renewed: Option<Instant>,
}

/// What was last seen of somebody else's lease, and since when.
struct Seen {
    version: Option<String>,
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// Nobody holds it, or nobody who is still there.
    Free,
    Mine,
    Anothers,
}

impl Candidate {
    pub fn new(client: Client, namespace: &str, identity: String) -> (Self, watch::Receiver<bool>) {
        let (leading, receiver) = watch::channel(false);
        let leases = Api::namespaced(client, namespace);
        (Self { leases, identity, leading, seen: None, renewed: None }, receiver)
    }

    /// Runs until dropped, or until `stop` is set: then the lease is given back, so that the next one
    /// need not wait for its end.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            // From when it was asked: others count from the writing, which is later.
            let asked = Instant::now();
            let left = self.renewed.map(|renewed| GIVE_UP.saturating_sub(renewed.elapsed()));
            let patience = left.map_or(ANSWER_WITHIN, |left| left.min(ANSWER_WITHIN));
            let tried = tokio::time::timeout(patience, self.try_to_hold()).await;
            match tried {
                Ok(Ok(true)) => self.renewed = Some(asked),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => warn!(%error, "the lease could not be looked at"),
                Err(_) => warn!("the lease could not be looked at: no answer within {patience:?}"),
            }
            self.renewed = self.renewed.filter(|renewed| renewed.elapsed() < GIVE_UP);
            let leads = self.renewed.is_some();
            self.leading.send_if_modified(|leading| {
                let changed = *leading != leads;
                if changed {
                    info!(identity = self.identity, leads, "leadership");
                }
                *leading = leads;
                changed
            });
            let pause = if leads { RENEW } else { LOOK };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                told = async { stop.wait_for(|stop| *stop).await.is_ok() } => {
                    if told && leads {
                        self.leading.send_replace(false);
                        self.give_back().await;
                    }
                    return;
                }
            }
        }
    }

    async fn try_to_hold(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.claimed(None)) };
            return won(self.leases.create(&PostParams::default(), &lease).await);
        };
        match self.judge(&lease, Instant::now()) {
            Claim::Anothers => Ok(false),
            Claim::Mine | Claim::Free => {
                let spec = Some(self.claimed(lease.spec.as_ref()));
                let lease = Lease { spec, ..lease };
                won(self.leases.replace(NAME, &PostParams::default(), &lease).await)
            }
        }
    }

    fn judge(&mut self, lease: &Lease, now: Instant) -> Claim {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() {
            return Claim::Free;
        }
        if holder == self.identity {
            return Claim::Mine;
        }
        let version = lease.metadata.resource_version.clone();
        let seen = self.seen.take().filter(|seen| seen.version == version);
        let seen = seen.unwrap_or(Seen { version, since: now });
        let lasts =
            spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = lasts.map_or(DURATION, Duration::from_secs);
        let gone = now.duration_since(seen.since) > lasts;
        self.seen = Some(seen);
        if gone { Claim::Free } else { Claim::Anothers }
    }

    fn claimed(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = before.is_some_and(|before| before.holder_identity.as_deref() == Some(&self.identity));
        let before = before.cloned().unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if mine { before.acquire_time } else { Some(now.clone()) },
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!mine)),
            renew_time: Some(now),
            ..before
        }
    }

    async fn give_back(&self) {
        let given = async {
            let mut lease = self.leases.get(NAME).await?;
            if let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                self.leases.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(ANSWER_WITHIN, given).await {
            Ok(Ok(())) => info!("gave the lease back"),
            Ok(Err(error)) => warn!(%error, "the lease could not be given back"),
            Err(_) => warn!("the lease could not be given back in time"),
        }
    }
}

/// Whoever writes first has it.
fn won(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The pod's name, and something that a second process of that name would not have.
pub fn identity() -> String {
    let mut random = [0; 4];
    let _ = aws_lc_rs::rand::fill(&mut random);
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".into());
    format!("{host}_{}", hotcert_agent::tls::hex::hex(&random))
}
