//! What a handle, its acceptors and its connectors share. The identity is kept current for as long as one of them is
//! there.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::handshake_limiter::HandshakeLimiter;
use crate::peer::Peers;
use crate::reload::Reporter;
use crate::reload_error::ReloadError;
use crate::snapshot::Snapshots;

pub(crate) struct Shared {
    pub snapshots: Snapshots,
    pub reporter: Reporter,
    pub requested: Arc<Notify>,
    pub peers: Peers,
    /// Of all acceptors that have none of their own.
    pub handshakes: HandshakeLimiter,
    /// Set when the reload has ended by itself.
    pub ended: watch::Receiver<Option<ReloadError>>,
    /// `None` if the program hands over the credentials itself.
    pub task: Option<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.snapshots.load().map(|snapshot| snapshot.generation);
        f.debug_struct("Shared").field("generation", &generation).finish_non_exhaustive()
    }
}
