//! Two sources, one authority. While the watch is well the API is believed; the volume is what the
//! agent starts from and falls back to. A volume lags by up to a minute or two, so it is held
//! against the last word of the API: what the API has replaced does not come back.

pub mod directory;
pub mod kubernetes;

use std::time::SystemTime;

use crate::tls::credential::Credential;
use crate::tls::source::kubernetes::{ApiState, SecretVersion, WatchState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Api,
    Volume,
}

impl SourceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Volume => "volume",
        }
    }
}

/// Which source is believed, why, and what is to be served by it.
#[derive(Debug)]
pub struct Decision<'a> {
    pub authority: SourceKind,
    pub why: String,
    /// `None`: nothing was heard from any source yet.
    pub candidate: Option<Candidate<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub credential: &'a Credential,
    pub from: SourceKind,
    /// When it was published, where the source says so.
    pub written_at: Option<SystemTime>,
}

/// What has to be remembered to judge the volume by.
#[derive(Debug, Default)]
pub struct SourceSelector {
    /// The content of the API, by number, that the volume was seen to have caught up with: a Secret
    /// volume goes forward only, so whatever it shows next is newer.
    caught_up: u64,
}

impl SourceSelector {
    pub fn decide<'a>(
        &mut self,
        api: Option<&'a WatchState>,
        volume: Option<&'a Credential>,
    ) -> Decision<'a> {
        let last = api.and_then(|api| api.last.as_deref());
        if let (Some(last), Some(volume)) = (last, volume)
            && volume.fingerprint() == last.fingerprint
            // What was rolled back to may be there still from the time before.
            && (!last.again || swapped_since(volume, last))
        {
            self.caught_up = last.number;
        }
        let by_volume =
            volume.map(|credential| Candidate { credential, from: SourceKind::Volume, written_at: None });
        let by_api = last.map(|last| Candidate {
            credential: &last.credential,
            from: SourceKind::Api,
            written_at: last.written_at,
        });
        let (authority, why, candidate) = match (api, volume) {
            (None, _) => (SourceKind::Volume, "it is the only source".to_owned(), by_volume),
            (Some(WatchState { state: ApiState::Watching, .. }), _) => {
                (SourceKind::Api, "the Secret is being watched".to_owned(), by_api)
            }
            (Some(api), None) => {
                (SourceKind::Api, format!("it is the only source; {}", problem(&api.state)), by_api)
            }
            (Some(api), Some(volume)) => {
                let problem = problem(&api.state);
                match last {
                    Some(last) if !self.is_newer(volume, last, api) => (
                        SourceKind::Volume,
                        format!(
                            "{problem}; the volume is behind what the API said last, which goes on being served"
                        ),
                        by_api,
                    ),
                    _ => (SourceKind::Volume, problem, by_volume),
                }
            }
        };
        Decision { authority, why, candidate }
    }

    /// Whether the volume has something newer than (or the same as) the API's last word.
    fn is_newer(&self, volume: &Credential, last: &SecretVersion, api: &WatchState) -> bool {
        let content = volume.fingerprint();
        if content == last.fingerprint {
            return true;
        }
        if self.caught_up == last.number {
            return true;
        }
        if api.superseded(content) {
            return false;
        }
        match (volume.revision, last.credential.revision) {
            (Some(volume), Some(last)) if volume != last => volume > last,
            _ => swapped_since(volume, last),
        }
    }
}

fn swapped_since(volume: &Credential, last: &SecretVersion) -> bool {
    volume.changed_at.is_some_and(|swapped| swapped > last.received_at)
}

fn problem(state: &ApiState) -> String {
    match state {
        ApiState::Connecting => "the API has not answered yet".into(),
        ApiState::Watching => "the Secret is being watched".into(),
        ApiState::Absent => "there is no such Secret".into(),
        ApiState::Lost(trouble) => format!("the API is lost ({}): {}", trouble.reason, trouble.detail),
    }
}

#[cfg(test)]
mod tests;
