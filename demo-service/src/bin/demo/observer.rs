//! Observes what the control plane did in each round, before its effect is visible in handshakes.
//!
//! A leaf is stored in one round and published in a later one. In between it is registered in the [`LeafTracker`] and
//! expected by the [`Prober`], so a leaf that is not registered must never be served. The client reads what is published
//! for it before the next round: it is not a pod, so no step of a rollover waits for it.

use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hotcert::pki::keyring::Phase;
use hotcert::planner::observed::{
    Certificate, KeyringState, KeyringView, Observed, Publication, Published, ResourceVersion,
};
use tokio::sync::oneshot;

use crate::client::{Client, Credentials, CredentialsError};
use crate::identity::{AUTHORITY, CLIENT, STOREFRONT, certificate};
use crate::leaf_tracker::{Fingerprint, LeafTracker, parse};
use crate::load_stats::{LoadStats, Span};
use crate::prober::Prober;
use crate::progress::Progress;

/// Requests that begin this soon after a new leaf was served count as made while rotating.
pub const ROTATION_MARGIN: Duration = Duration::from_millis(100);

pub struct Observer {
    pub services: [Service; 2],
    pub client: ClientUpdater,
    pub leaf_tracker: Arc<LeafTracker>,
    pub load_stats: Arc<LoadStats>,
    pub progress: Arc<Progress>,
}

pub struct Service {
    pub name: &'static str,
    pub volume: PathBuf,
    prober: Prober,
    /// The newest leaf that was registered.
    leaf: Option<Fingerprint>,
    swap: Option<Swap>,
}

/// Replaces the client's credentials when new ones are published.
pub struct ClientUpdater {
    volume: PathBuf,
    client: Arc<Client>,
    /// Of the publication whose credentials are in use.
    resource_version: Option<ResourceVersion>,
}

/// A leaf on its way to being served.
struct Swap {
    leaf: Fingerprint,
    published: Option<Instant>,
    served: oneshot::Receiver<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("cannot read a volume that was just published: {0}")]
    Volume(#[from] io::Error),
}

impl Observer {
    /// To be called after every round, before the next. Once a new leaf is published, returns when a handshake
    /// has shown it.
    pub async fn observe(&mut self, observed: &Observed) -> Result<(), ObserverError> {
        self.progress.phase(phase(observed));
        for service in &mut self.services {
            if let Some(certificate) = observed.certificates.get(&certificate(service.name)) {
                service.register(certificate, &self.leaf_tracker);
                service.record_publication(certificate)?;
            }
        }
        self.client.renew(observed, &self.leaf_tracker).await?;
        for service in &mut self.services {
            let Some((leaf, Span(published, served))) = service.finished_swap().await else { continue };
            self.progress.leaf_served(served.saturating_duration_since(published));
            self.load_stats.rotated(Span(published, served + ROTATION_MARGIN));
            if service.name == STOREFRONT
                && let Some(number) = self.leaf_tracker.number(&leaf)
            {
                self.load_stats.serves(number);
            }
        }
        Ok(())
    }
}

impl Service {
    /// `observed`: the state whose leaf is served already.
    pub fn new(name: &'static str, volume: PathBuf, prober: Prober, observed: &Observed) -> Self {
        Self { name, volume, prober, leaf: first_leaf(observed, name), swap: None }
    }

    fn register(&mut self, certificate: &Certificate, leaf_tracker: &LeafTracker) {
        let newest = newest(certificate);
        if let Some(leaf) = newest.filter(|_| newest != self.leaf) {
            leaf_tracker.expect(leaf);
            self.leaf = newest;
            self.swap = Some(Swap { leaf, published: None, served: self.prober.expect(leaf) });
        }
    }

    fn record_publication(&mut self, certificate: &Certificate) -> io::Result<()> {
        if let (Some(swap @ Swap { published: None, .. }), Published::Ours(publication)) =
            (&mut self.swap, &certificate.published)
            && parse(&publication.leaf_sha256) == Some(swap.leaf)
        {
            swap.published = Some(renamed_at(&self.volume)?);
        }
        Ok(())
    }

    async fn finished_swap(&mut self) -> Option<(Fingerprint, Span)> {
        let Some(Swap { leaf, published: Some(published), served }) = &mut self.swap else { return None };
        let finished = match served.await {
            Ok(served) => Some((*leaf, Span(*published, served))),
            // The prober has ended; the caller has a timeout.
            Err(_) => pending().await,
        };
        self.swap = None;
        finished
    }
}

impl ClientUpdater {
    /// The client has its first credentials already.
    pub fn new(volume: PathBuf, client: Arc<Client>) -> Self {
        Self { volume, client, resource_version: None }
    }

    async fn renew(
        &mut self,
        observed: &Observed,
        leaf_tracker: &Arc<LeafTracker>,
    ) -> Result<(), CredentialsError> {
        let resource_version =
            publication(observed, CLIENT).map(|publication| publication.resource_version.clone());
        if resource_version.is_some() && resource_version != self.resource_version {
            self.client.replace(Credentials::read(&self.volume, leaf_tracker)?).await;
            self.resource_version = resource_version;
        }
        Ok(())
    }
}

pub fn first_leaf(observed: &Observed, service: &str) -> Option<Fingerprint> {
    observed.certificates.get(&certificate(service)).and_then(|certificate| newest(certificate))
}

fn newest(certificate: &Certificate) -> Option<Fingerprint> {
    certificate.newest().and_then(|(_, version)| parse(&version.leaf.sha256))
}

fn publication<'a>(observed: &'a Observed, name: &str) -> Option<&'a Publication> {
    match &observed.certificates.get(&certificate(name))?.published {
        Published::Ours(publication) => Some(publication),
        _ => None,
    }
}

/// Whether the newest version is what is published.
pub fn is_published(observed: &Observed, name: &str) -> bool {
    let newest = observed.certificates.get(&certificate(name)).and_then(|certificate| certificate.newest());
    let published = publication(observed, name);
    newest.is_some_and(|(_, version)| {
        published.is_some_and(|publication| publication.fingerprint == version.fingerprint)
    })
}

/// Whether it is published and handshakes of the control plane have proved that every pod serves it.
pub fn is_served(observed: &Observed, name: &str) -> bool {
    let served = observed.certificates.get(&certificate(name)).and_then(|found| found.status.served.as_ref());
    let complete = served.zip(publication(observed, name)).is_some_and(|(served, publication)| {
        i64::try_from(publication.revision) == Ok(served.revision)
            && served.pods > 0
            && served.serving == served.pods
    });
    complete && is_published(observed, name)
}

/// Whether the newest version was made for this request.
pub fn is_handled(observed: &Observed, name: &str, request: &str) -> bool {
    let newest = observed.certificates.get(&certificate(name)).and_then(|certificate| certificate.newest());
    newest.is_some_and(|(_, version)| version.request.as_deref() == Some(request))
}

/// The keyring of the authority; `None` before it has a root.
pub fn keyring(observed: &Observed) -> Option<&KeyringView> {
    match &observed.authorities.get(AUTHORITY)?.keyring {
        KeyringState::Present(keyring) => Some(keyring),
        KeyringState::Absent | KeyringState::Unreadable(_) => None,
    }
}

fn phase(observed: &Observed) -> &'static str {
    let state = keyring(observed).map(|keyring| &keyring.state);
    match state.and_then(|state| state.rollover()).map(|rollover| rollover.phase) {
        Some(Phase::Distributing) => "distributing: old and new root trusted",
        Some(Phase::Reissuing) => "reissuing: new leaves under the new root",
        Some(Phase::Retiring) => "retiring: only the new root trusted",
        None if state.is_some_and(|state| !state.rollover_history.is_empty()) => "steady, under the new root",
        None => "steady",
    }
}

/// When the volume was swapped last, by the file system's clock: at most one clock tick too early.
fn renamed_at(volume: &Path) -> io::Result<Instant> {
    let link = std::fs::symlink_metadata(volume.join("..data"))?;
    let seconds = Duration::from_secs(link.ctime().try_into().unwrap_or(0));
    let at =
        SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(link.ctime_nsec().try_into().unwrap_or(0));
    let (now, age) = (Instant::now(), SystemTime::now().duration_since(at).unwrap_or_default());
    Ok(now.checked_sub(age).unwrap_or(now))
}
