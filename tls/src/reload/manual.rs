//! A source of the program's own: it hands over each credential, and everything after that is as with the others.

use tokio::sync::watch;

use super::writer::{Moment, Writer};
use crate::credential::Credential;
use crate::reload_error::ReloadError;
use crate::source::{Candidate, SourceKind};
use crate::status::Outcome;

/// The one writer of an identity whose credentials the program reads itself, such as from Vault or the SPIFFE
/// Workload API. Made by [`ReloaderBuilder::start_manually`](crate::ReloaderBuilder::start_manually).
pub struct ManualSource {
    pub(crate) writer: Writer,
    /// Dropped with the source: then the identity is no longer kept current.
    pub(crate) _end: watch::Sender<Option<ReloadError>>,
}

impl ManualSource {
    /// Considers a credential: what is valid of it becomes current before this returns. What is wrong is in the
    /// events and the status. The verdict depends on the time too, so that the same credential should be offered
    /// again every few seconds: it is taken once it is valid.
    pub fn offer(&mut self, credential: &Credential) -> Outcome {
        let candidate = Candidate { credential, from: SourceKind::Manual, written_at: None };
        let now = Moment::now();
        let outcome = self.writer.consider(candidate, now);
        // Reported once when it expires.
        let _ = self.writer.leaf_lifetime_left(now.wall);
        outcome.unwrap_or(Outcome::Refused)
    }
}

impl std::fmt::Debug for ManualSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualSource").finish_non_exhaustive()
    }
}
