//! Which of two sources decides. While the watch is healthy the API does; the volume is what the agent
//! starts from and falls back to. A volume lags by up to a minute or two, so it is compared with the
//! version that the API delivered last: content that the API has replaced does not come back.

use std::time::SystemTime;

use super::kind::SourceKind;
use super::watch_state::{ApiState, SecretVersion, WatchState};
use crate::credential::Credential;

/// Which source is the authority, why, and the candidate to be served by it.
#[derive(Debug)]
pub struct Decision<'a> {
    pub authority: SourceKind,
    pub why: String,
    /// `None` until a source has delivered something.
    pub candidate: Option<Candidate<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub credential: &'a Credential,
    pub from: SourceKind,
    /// When it was published, where the source records that.
    pub written_at: Option<SystemTime>,
}

/// What is known of the volume.
#[derive(Clone, Copy, Debug)]
pub enum VolumeState<'a> {
    /// There is none.
    None,
    /// It does not answer: it may show anything once it does.
    Hanging,
    Read(&'a Credential),
}

/// What has to be remembered to compare the volume with the API.
#[derive(Debug, Default)]
pub struct SourceSelector {
    /// Number of the API's version that the volume was seen to have caught up with: a Secret volume
    /// only moves forward, so whatever it shows next is newer.
    caught_up: u64,
}

impl SourceSelector {
    pub fn decide<'a>(&mut self, api: Option<&'a WatchState>, volume: VolumeState<'a>) -> Decision<'a> {
        let last = api.and_then(|api| api.last.as_deref());
        if let (Some(last), VolumeState::Read(volume)) = (last, volume)
            && volume.fingerprint() == last.fingerprint
            // After a rollback the volume may still show the same content from before.
            && (!last.is_rollback || swapped_since(volume, last))
        {
            self.caught_up = last.number;
        }
        let from_api = last.map(|last| Candidate {
            credential: &last.credential,
            from: SourceKind::Api,
            written_at: last.written_at,
        });
        let from_volume = |credential| Candidate { credential, from: SourceKind::Volume, written_at: None };
        let (authority, why, candidate) = match (api, volume) {
            (Some(WatchState { state: ApiState::Watching, .. }), _) => {
                (SourceKind::Api, "the Secret is being watched".to_owned(), from_api)
            }
            (Some(api), VolumeState::None) => {
                (SourceKind::Api, format!("it is the only source; {}", describe(&api.state)), from_api)
            }
            (None, VolumeState::None) => (SourceKind::Volume, "there is no source".to_owned(), None),
            // What was served last may have come from it, after the last version of the API.
            (api, VolumeState::Hanging) => {
                let problem = api.map(|api| describe(&api.state) + "; ").unwrap_or_default();
                (SourceKind::Volume, format!("{problem}the directory does not answer"), None)
            }
            (None, VolumeState::Read(volume)) => {
                (SourceKind::Volume, "it is the only source".to_owned(), Some(from_volume(volume)))
            }
            (Some(api), VolumeState::Read(volume)) => {
                let problem = describe(&api.state);
                match last {
                    Some(last) if !self.is_newer(volume, last, api) => (
                        SourceKind::Volume,
                        format!(
                            "{problem}; the volume is behind the last version from the API, which is still served"
                        ),
                        from_api,
                    ),
                    _ => (SourceKind::Volume, problem, Some(from_volume(volume))),
                }
            }
        };
        Decision { authority, why, candidate }
    }

    /// Whether the volume shows something newer than, or the same as, the API's last version.
    fn is_newer(&self, volume: &Credential, last: &SecretVersion, api: &WatchState) -> bool {
        let content = volume.fingerprint();
        if content == last.fingerprint || self.caught_up == last.number {
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

fn describe(state: &ApiState) -> String {
    match state {
        ApiState::Connecting => "the API has not answered yet".into(),
        ApiState::Watching => "the Secret is being watched".into(),
        ApiState::Absent => "the Secret does not exist".into(),
        ApiState::Lost(error) => format!("the API is lost ({}): {}", error.reason.as_str(), error.detail),
    }
}

#[cfg(test)]
mod tests;
