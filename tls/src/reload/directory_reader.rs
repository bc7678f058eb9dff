//! The identity directory, read when something may have changed, and the watch on it.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinError;
use tracing::warn;

use super::reporter::Reporter;
use crate::credential::Credential;
use crate::source::directory::Volume;
use crate::source::directory::watch::DirectoryWatch;

pub(super) struct DirectoryReader {
    volume: Volume,
    watch: DirectoryWatch,
    in_memory: bool,
    warned_not_atomic: bool,
    warned_unwatched: bool,
}

/// The result of one read.
pub(super) struct DirectoryRead {
    pub credential: Credential,
    watching: Result<bool, notify::Error>,
    /// The directory exists and has no `..data`.
    not_atomic: bool,
}

impl DirectoryReader {
    pub(super) fn new(volume: Volume, changed: Arc<Notify>) -> Self {
        Self {
            watch: DirectoryWatch::new(volume.directory(), changed),
            volume,
            in_memory: false,
            warned_not_atomic: false,
            warned_unwatched: false,
        }
    }

    /// Reads on a blocking thread, since a volume may hang; on this one once the volume is known to be in
    /// memory.
    pub(super) async fn read(self) -> Result<(Self, DirectoryRead), JoinError> {
        if self.in_memory {
            return Ok(self.read_now());
        }
        tokio::task::spawn_blocking(|| self.read_now()).await
    }

    /// Blocks on the file system.
    fn read_now(mut self) -> (Self, DirectoryRead) {
        // Armed before reading, so that no change falls between the two.
        let watching = self.watch.arm();
        self.in_memory = self.volume.is_in_memory();
        let credential = self.volume.read();
        let not_atomic = !credential.atomic && self.volume.directory().exists();
        (self, DirectoryRead { credential, watching, not_atomic })
    }

    /// Reports the state of the directory itself. Returns whether events are expected.
    pub(super) fn report(&mut self, read: &DirectoryRead, reporter: &Reporter) -> bool {
        let watching = read.watching.as_ref().copied().unwrap_or_else(|error| {
            if !self.warned_unwatched {
                self.warned_unwatched = true;
                warn!(%error, "no events from the identity directory: changes are noticed by polling only");
            }
            false
        });
        if read.not_atomic && !self.warned_not_atomic {
            self.warned_not_atomic = true;
            warn!(
                directory = %self.volume.directory().display(),
                "no ..data in the identity directory: if this is a subPath mount of a Secret, Kubernetes never \
                 updates it and a rotated certificate will not arrive; mount the whole Secret as a directory"
            );
        }
        reporter.update(|report| {
            report.source.watching = watching;
            report.source.atomic = read.credential.atomic;
            report.source.notices = match read.not_atomic {
                true => vec!["no ..data: a subPath mount is never updated by Kubernetes".into()],
                false => Vec::new(),
            };
        });
        watching
    }
}
