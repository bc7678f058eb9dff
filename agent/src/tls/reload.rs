//! The reload loop: reads the sources, lets the selector decide between them, and hands the candidate to
//! the one writer. An event, the poll, SIGHUP and a due time all mean the same: read again. The loop
//! reports to its status and calls nothing of the proxies, which meet it in the snapshot only.

mod directory_reader;
mod report;
pub mod status;
pub mod trial_handshake;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::tls::config::ClientAuth;
use crate::tls::identity::Policy;
use crate::tls::reload::directory_reader::DirectoryReader;
use crate::tls::reload::status::ReloadStatus;
use crate::tls::reload::writer::{Moment, Progress, Writer};
use crate::tls::snapshot::Publisher;
use crate::tls::source::SourceSelector;
use crate::tls::source::directory::Volume;
use crate::tls::source::kubernetes::{SecretWatcher, WatchState};

/// What to reload, and how. There is at least one source.
pub struct Reload {
    pub volume: Option<Volume>,
    pub secret: Option<SecretWatcher>,
    pub policy: Policy,
    pub client_auth: ClientAuth,
    pub poll: Duration,
    pub publisher: Publisher,
    pub status: ReloadStatus,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(#[from] std::io::Error),
    #[error("reading the identity directory panicked")]
    ReadPanicked,
    #[error("the watch on the Secret ended")]
    WatchEnded,
}

/// Runs until dropped, or until it cannot go on.
pub async fn run(reload: Reload) -> Result<(), ReloadError> {
    let Reload { volume, secret, policy, client_auth, poll, publisher, status } = reload;
    let changed = Arc::new(Notify::new());
    let directory_name = volume.as_ref().map(|volume| volume.directory().display().to_string());
    status.update(|report| report.source.directory = directory_name);
    let mut directory = volume.map(|volume| DirectoryReader::new(volume, Arc::clone(&changed)));
    let secret_name = secret.as_ref().map(|watcher| watcher.secret.to_string());
    let mut api = secret.map(SecretWatcher::start);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut selector = SourceSelector::default();
    let mut writer = Writer { policy, client_auth, poll, publisher, status, progress: Progress::default() };
    loop {
        let mut read = None;
        // Without a directory there is nothing that would have to be polled more often.
        let mut watching = true;
        if let Some(reader) = directory.take() {
            let (mut reader, result) = reader.read().await.map_err(|_| ReloadError::ReadPanicked)?;
            watching = reader.report(&result, &writer.status);
            directory = Some(reader);
            read = Some(result);
        }
        let watched = api.as_mut().map(|api| api.borrow_and_update().clone());
        let decision = selector.decide(watched.as_ref(), read.as_ref().map(|read| &read.credential));
        report::report_sources(
            &writer.status,
            &decision,
            watched.as_ref(),
            secret_name.as_deref(),
            SystemTime::now(),
        );
        if let Some(candidate) = decision.candidate {
            writer.consider(candidate, Moment::now());
        }
        let wait = writer.next_wait(watching, SystemTime::now());
        tokio::select! {
            () = changed.notified() => {}
            _ = hangup.recv() => info!("reading again on SIGHUP"),
            result = api_changed(&mut api) => result.map_err(|_| ReloadError::WatchEnded)?,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn api_changed(api: &mut Option<watch::Receiver<WatchState>>) -> Result<(), watch::error::RecvError> {
    match api {
        Some(api) => api.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
