//! The reload loop: reads the sources, lets the selector decide between them, and hands the candidate to
//! the one writer. An event, the poll, a request and a due time all mean the same: read again. The loop
//! reports and calls nothing of those who use the identity, which meet it in the snapshot only.

mod clock;
mod directory_reader;
mod list_dates;
mod manual;
mod report;
mod reporter;
mod trial_handshake;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Notify, watch};

use crate::reload::directory_reader::DirectoryReader;
use crate::reload::writer::Moment;
use crate::reload_error::ReloadError;
use crate::source::directory::Volume;
use crate::source::{SecretRef, SourceSelector, VolumeState, WatchState};

pub use manual::ManualSource;
pub(crate) use reporter::Reporter;
pub use trial_handshake::trial_handshake;
pub(crate) use writer::{Progress, Writer};

/// What to reload, and how. There is at least one source.
pub(crate) struct Reload {
    pub volume: Option<Volume>,
    pub secret: Option<SecretWatch>,
    pub writer: Writer,
    /// Notified to have the sources read again now.
    pub requested: Arc<Notify>,
}

/// A Secret, and what the watch on it has seen.
pub(crate) struct SecretWatch {
    pub secret: SecretRef,
    pub state: watch::Receiver<WatchState>,
}

/// Runs until dropped, or until it cannot go on.
pub(crate) async fn run(reload: Reload) -> Result<Infallible, ReloadError> {
    let Reload { volume, secret, mut writer, requested } = reload;
    let changed = Arc::new(Notify::new());
    let directory_name = volume.as_ref().map(|volume| volume.directory().display().to_string());
    writer.reporter.update(|status| status.source.directory = directory_name);
    let reader = |volume| DirectoryReader::new(volume, Arc::clone(&changed), writer.reporter.clone());
    let mut directory = volume.map(reader);
    let secret_name = secret.as_ref().map(|watch| watch.secret.to_string());
    let mut api = secret.map(|watch| watch.state);
    let mut selector = SourceSelector::default();
    loop {
        let read = match &mut directory {
            Some(reader) => Some(reader.read().await?),
            None => None,
        };
        let volume = match &read {
            None => VolumeState::None,
            Some(None) => VolumeState::Hanging,
            Some(Some(read)) => VolumeState::Read(&read.credential),
        };
        let watched = api.as_mut().map(|api| api.borrow_and_update().clone());
        let decision = selector.decide(watched.as_ref(), volume);
        report::report_sources(
            &writer.reporter,
            &decision,
            watched.as_ref(),
            secret_name.as_deref(),
            SystemTime::now(),
        );
        if let Some(candidate) = decision.candidate {
            writer.consider(candidate, Moment::now());
        }
        // Without a directory there is nothing that would have to be polled more often.
        let watching = directory.as_ref().is_none_or(DirectoryReader::is_watching);
        let wait = writer.next_wait(watching, SystemTime::now());
        tokio::select! {
            () = changed.notified() => {}
            () = requested.notified() => if let Some(reader) = &mut directory {
                reader.requested();
            },
            () = answered(&mut directory) => {}
            result = api_changed(&mut api) => result.map_err(|_| ReloadError::WatchEnded)?,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn answered(directory: &mut Option<DirectoryReader>) {
    match directory {
        Some(reader) => reader.answered().await,
        None => std::future::pending().await,
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
