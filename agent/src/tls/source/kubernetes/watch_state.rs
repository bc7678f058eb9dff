//! What the API has said of the Secret so far, as the reload loop sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::WatchError;
use crate::tls::credential::{Credential, Fingerprint};

/// Contents that were replaced, remembered so that a volume that lags cannot bring one back.
const REMEMBERED: usize = 64;

#[derive(Clone)]
pub struct WatchState {
    pub state: ApiState,
    /// Since when it is in that state.
    pub since: SystemTime,
    /// The last content, whatever became of the watch since.
    pub last: Option<Arc<SecretVersion>>,
    superseded: VecDeque<Fingerprint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiState {
    /// Nothing was heard yet.
    Connecting,
    Watching,
    /// The watch is well, and there is no such Secret.
    Absent,
    Lost(WatchError),
}

/// One content of the Secret.
pub struct SecretVersion {
    /// Counts the contents from 1.
    pub number: u64,
    /// It had been there before and was replaced: a rollback.
    pub again: bool,
    pub credential: Credential,
    pub fingerprint: Fingerprint,
    pub resource_version: String,
    /// When it was written last, by the API server's clock, to the second.
    pub written_at: Option<SystemTime>,
    /// When it was first heard, by this machine's clock.
    pub received_at: SystemTime,
}

impl ApiState {
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
            superseded: VecDeque::new(),
        }
    }
}

impl WatchState {
    pub fn set_state(&mut self, state: ApiState, now: SystemTime) {
        if self.state.as_str() != state.as_str() {
            self.since = now;
        }
        self.state = state;
    }

    pub fn record(&mut self, mut said: SecretVersion) {
        said.number = 1;
        if let Some(last) = &self.last {
            if last.fingerprint == said.fingerprint {
                (said.number, said.again, said.received_at) = (last.number, last.again, last.received_at);
            } else {
                said.number = last.number + 1;
                said.again = self.superseded(said.fingerprint);
                self.superseded.retain(|old| *old != said.fingerprint && *old != last.fingerprint);
                self.superseded.push_back(last.fingerprint);
                if self.superseded.len() > REMEMBERED {
                    self.superseded.pop_front();
                }
            }
        }
        self.last = Some(Arc::new(said));
    }

    /// The API showed this content and replaced it.
    pub fn superseded(&self, content: Fingerprint) -> bool {
        self.superseded.contains(&content)
    }
}
