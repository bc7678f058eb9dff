//! Where the reload reports: the status for those who ask, the events for those who subscribed, and the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::event::{self, Event};
use crate::identity::RejectionReason;
use crate::status::{Outcome, Status};

/// Shared between the loop, which writes, and those that show it.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// Tells the metrics of several identities of one program apart.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    name: Arc<str>,
    status: Arc<Mutex<Status>>,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new("")
    }
}

impl Reporter {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), status: Arc::default(), events: event::channel() }
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    pub(super) fn count(&self, outcome: Outcome, reason: Option<RejectionReason>) {
        *self.lock().candidates.entry((outcome, reason)).or_default() += 1;
        #[cfg(feature = "metrics")]
        crate::metrics::count_candidate(&self.name, outcome, reason);
    }

    pub(crate) fn emit(&self, event: Event) {
        #[cfg(feature = "metrics")]
        crate::metrics::record(&self.name, &event);
        // Without a subscriber there is no one to tell.
        let _ = self.events.send(event);
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // A panic in between leaves a status that can still be read.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
