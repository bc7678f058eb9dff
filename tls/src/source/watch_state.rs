//! What the watch has seen of the Secret so far, as the reload loop reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::watch_error::{WatchError, WatchErrorReason};
use crate::credential::{Credential, Fingerprint};

/// Replaced contents that are remembered, so that a lagging volume cannot bring one back.
const MAX_SUPERSEDED: usize = 64;

#[derive(Clone)]
pub(crate) struct WatchState {
    pub state: ApiState,
    /// Since when it is in that state.
    pub since: SystemTime,
    /// The last version, whatever has happened to the watch since.
    pub last: Option<Arc<SecretVersion>>,
    /// How often the watch was lost or could not begin, by reason.
    pub failures: BTreeMap<WatchErrorReason, u64>,
    superseded: VecDeque<Fingerprint>,
}

/// Whether the watch on the Secret is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiState {
    /// The API server has not answered yet.
    Connecting,
    /// The watch is healthy, and the Secret exists.
    Watching,
    /// The watch is healthy, and the Secret does not exist.
    Absent,
    /// There is no watch; it is begun again and again.
    Lost(WatchError),
}

/// One version of the Secret's content.
pub(crate) struct SecretVersion {
    /// Counts the contents from 1.
    pub number: u64,
    /// The same content had been there before and was replaced.
    pub is_rollback: bool,
    pub credential: Credential,
    pub fingerprint: Fingerprint,
    pub resource_version: String,
    /// When it was written last, by the API server's clock, to the second.
    pub written_at: Option<SystemTime>,
    /// When it was first received, by this machine's clock.
    pub received_at: SystemTime,
}

impl ApiState {
    /// As health and logs name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Watching => "watching",
            Self::Absent => "absent",
            Self::Lost(_) => "lost",
        }
    }
}

impl Default for WatchState {
    fn default() -> Self {
        Self {
            state: ApiState::Connecting,
            since: SystemTime::now(),
            last: None,
            failures: BTreeMap::new(),
            superseded: VecDeque::new(),
        }
    }
}

#[cfg_attr(not(feature = "kubernetes"), allow(dead_code))]
impl WatchState {
    pub fn set_state(&mut self, state: ApiState, now: SystemTime) {
        if self.state.as_str() != state.as_str() {
            self.since = now;
        }
        self.state = state;
    }

    pub fn record_failure(&mut self, error: WatchError, now: SystemTime) {
        *self.failures.entry(error.reason).or_default() += 1;
        self.set_state(ApiState::Lost(error), now);
    }

    pub fn record(&mut self, mut version: SecretVersion) {
        version.number = 1;
        if let Some(last) = &self.last {
            if last.fingerprint == version.fingerprint {
                (version.number, version.is_rollback, version.received_at) =
                    (last.number, last.is_rollback, last.received_at);
            } else {
                version.number = last.number + 1;
                version.is_rollback = self.superseded(version.fingerprint);
                self.superseded.retain(|old| *old != version.fingerprint && *old != last.fingerprint);
                self.superseded.push_back(last.fingerprint);
                if self.superseded.len() > MAX_SUPERSEDED {
                    self.superseded.pop_front();
                }
            }
        }
        self.last = Some(Arc::new(version));
    }

    /// Whether the API delivered this content and has replaced it since.
    pub fn superseded(&self, content: Fingerprint) -> bool {
        self.superseded.contains(&content)
    }
}
