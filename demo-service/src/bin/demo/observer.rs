//! The witness: looks at what the control plane has done, round by round, and sees to it that nothing
//! it publishes comes as a surprise.
//!
//! A leaf is kept in one round and published in a later one. In between it is entered in [`Sightings`]
//! and expected by the [`Prober`], so what nobody announced must not be served. The client outside takes
//! up what is published for it before the next round: it is no pod, so no step of a rollover waits for
//! it, and it is never a step behind.

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

use crate::identity::{AUTHORITY, OUTSIDE, STOREFRONT, certificate};
use crate::outside::{Outside, Passport, PassportError};
use crate::prober::Prober;
use crate::progress::Progress;
use crate::sightings::{Fingerprint, Sightings, parse};
use crate::tally::{Span, Tally};

/// Requests that begin this soon after a new leaf was served count as made while rotating.
pub const ECHO: Duration = Duration::from_millis(100);

pub struct Witness {
    pub services: [Service; 2],
    pub client: Client,
    pub sightings: Arc<Sightings>,
    pub tally: Arc<Tally>,
    pub progress: Arc<Progress>,
}

pub struct Service {
    pub name: &'static str,
    pub volume: PathBuf,
    prober: Prober,
    /// The newest that was announced.
    leaf: Option<Fingerprint>,
    swap: Option<Swap>,
}

/// The one outside.
pub struct Client {
    volume: PathBuf,
    outside: Arc<Outside>,
    /// Of the publication that it goes by.
    stamp: Option<ResourceVersion>,
}

/// A leaf on its way to being served.
struct Swap {
    leaf: Fingerprint,
    published: Option<Instant>,
    served: oneshot::Receiver<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    #[error(transparent)]
    Passport(#[from] PassportError),
    #[error("cannot look at a volume that was just published: {0}")]
    Volume(#[from] io::Error),
}

impl Witness {
    /// To be called after every round, before the next. Once a new leaf is published, it returns when
    /// that was seen served from outside.
    pub async fn see(&mut self, look: &Observed) -> Result<(), WitnessError> {
        self.progress.phase(phase(look));
        for service in &mut self.services {
            if let Some(certificate) = look.certificates.get(&certificate(service.name)) {
                service.announce(certificate, &self.sightings);
                service.note_publication(certificate)?;
            }
        }
        self.client.renew(look, &self.sightings).await?;
        for service in &mut self.services {
            let Some((leaf, Span(published, served))) = service.swapped().await else { continue };
            self.progress.leaf_served(served.saturating_duration_since(published));
            self.tally.rotated(Span(published, served + ECHO));
            if service.name == STOREFRONT
                && let Some(number) = self.sightings.number(&leaf)
            {
                self.tally.serves(number);
            }
        }
        Ok(())
    }
}

impl Service {
    /// One whose leaf in this look is served already.
    pub fn new(name: &'static str, volume: PathBuf, prober: Prober, look: &Observed) -> Self {
        Self { name, volume, prober, leaf: first_leaf(look, name), swap: None }
    }

    fn announce(&mut self, certificate: &Certificate, sightings: &Sightings) {
        let newest = newest(certificate);
        if let Some(leaf) = newest.filter(|_| newest != self.leaf) {
            sightings.expect(leaf);
            self.leaf = newest;
            self.swap = Some(Swap { leaf, published: None, served: self.prober.expect(leaf) });
        }
    }

    fn note_publication(&mut self, certificate: &Certificate) -> io::Result<()> {
        if let (Some(swap @ Swap { published: None, .. }), Published::Ours(publication)) =
            (&mut self.swap, &certificate.published)
            && parse(&publication.leaf_sha256) == Some(swap.leaf)
        {
            swap.published = Some(renamed_at(&self.volume)?);
        }
        Ok(())
    }

    async fn swapped(&mut self) -> Option<(Fingerprint, Span)> {
        let Some(Swap { leaf, published: Some(published), served }) = &mut self.swap else { return None };
        let swapped = match served.await {
            Ok(served) => Some((*leaf, Span(*published, served))),
            // The prober has ended; whoever waits here has a limit to it.
            Err(_) => pending().await,
        };
        self.swap = None;
        swapped
    }
}

impl Client {
    /// With no passport but the one that it was given already; it takes the next that is there.
    pub fn new(volume: PathBuf, outside: Arc<Outside>) -> Self {
        Self { volume, outside, stamp: None }
    }

    async fn renew(&mut self, look: &Observed, sightings: &Arc<Sightings>) -> Result<(), PassportError> {
        let stamp = publication(look, OUTSIDE).map(|publication| publication.stamp.clone());
        if stamp.is_some() && stamp != self.stamp {
            self.outside.replace(Passport::read(&self.volume, sightings)?).await;
            self.stamp = stamp;
        }
        Ok(())
    }
}

pub fn first_leaf(look: &Observed, service: &str) -> Option<Fingerprint> {
    look.certificates.get(&certificate(service)).and_then(|certificate| newest(certificate))
}

fn newest(certificate: &Certificate) -> Option<Fingerprint> {
    certificate.newest().and_then(|(_, version)| parse(&version.leaf.sha256))
}

fn publication<'a>(look: &'a Observed, who: &str) -> Option<&'a Publication> {
    match &look.certificates.get(&certificate(who))?.published {
        Published::Ours(publication) => Some(publication),
        _ => None,
    }
}

/// Whether the newest version is what is published.
pub fn is_published(look: &Observed, who: &str) -> bool {
    let newest = look.certificates.get(&certificate(who)).and_then(|certificate| certificate.newest());
    let published = publication(look, who);
    newest.is_some_and(|(_, version)| {
        published.is_some_and(|publication| publication.fingerprint == version.fingerprint)
    })
}

/// Whether it is published and the control plane saw it served, by handshake.
pub fn is_served(look: &Observed, who: &str) -> bool {
    let served = look.certificates.get(&certificate(who)).and_then(|found| found.status.served.as_ref());
    let complete = served.zip(publication(look, who)).is_some_and(|(served, publication)| {
        i64::try_from(publication.revision) == Ok(served.revision)
            && served.pods > 0
            && served.serving == served.pods
    });
    complete && is_published(look, who)
}

/// The version that answers to this request is the newest.
pub fn is_answered(look: &Observed, who: &str, request: &str) -> bool {
    let newest = look.certificates.get(&certificate(who)).and_then(|certificate| certificate.newest());
    newest.is_some_and(|(_, version)| version.request.as_deref() == Some(request))
}

/// Of the authority; nothing before it has a root.
pub fn ring(look: &Observed) -> Option<&KeyringView> {
    match &look.authorities.get(AUTHORITY)?.keyring {
        KeyringState::KeyringView(ring) => Some(ring),
        KeyringState::None | KeyringState::Unreadable(_) => None,
    }
}

fn phase(look: &Observed) -> &'static str {
    let state = ring(look).map(|ring| &ring.state);
    match state.and_then(|state| state.rollover()).map(|rollover| rollover.phase) {
        Some(Phase::Distributing) => "distributing: old and new root trusted",
        Some(Phase::Reissuing) => "reissuing: new leaves under the new root",
        Some(Phase::Retiring) => "retiring: only the new root trusted",
        None if state.is_some_and(|state| !state.rollover_history.is_empty()) => "steady, under the new root",
        None => "steady",
    }
}

/// When the volume was swapped last, as the file system dates it: by a clock tick too early at most.
fn renamed_at(volume: &Path) -> io::Result<Instant> {
    let link = std::fs::symlink_metadata(volume.join("..data"))?;
    let seconds = Duration::from_secs(link.ctime().try_into().unwrap_or(0));
    let at =
        SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(link.ctime_nsec().try_into().unwrap_or(0));
    let (now, age) = (Instant::now(), SystemTime::now().duration_since(at).unwrap_or_default());
    Ok(now.checked_sub(age).unwrap_or(now))
}
