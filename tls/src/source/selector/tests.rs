//! Which source decides, case by case.

use std::time::{Duration, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::*;
use crate::credential::{Layout, PartError};
use crate::source::{WatchError, WatchErrorReason};

/// What both sources have shown, on one clock, in seconds.
struct Case {
    selector: SourceSelector,
    watched: WatchState,
    volume: Option<Credential>,
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn credential(content: &str, revision: Option<u64>, second: u64) -> Credential {
    Credential::read_parts(&Layout::default(), Some(at(second)), true, |name| match name {
        "revision" => match revision {
            Some(revision) => Ok(Zeroizing::new(revision.to_string().into_bytes())),
            None => Err(PartError::Missing { file: name.into() }),
        },
        name => Ok(Zeroizing::new(format!("{name} {content}").into_bytes())),
    })
}

impl Case {
    fn new() -> Self {
        Self { selector: SourceSelector::default(), watched: WatchState::default(), volume: None }
    }

    fn api(mut self, second: u64, content: &str, revision: Option<u64>) -> Self {
        let credential = credential(content, revision, second);
        self.watched.set_state(ApiState::Watching, at(second));
        self.watched.record(SecretVersion {
            number: 0,
            is_rollback: false,
            fingerprint: credential.fingerprint(),
            credential,
            resource_version: String::new(),
            written_at: None,
            received_at: at(second),
        });
        self.decide();
        self
    }

    fn volume(mut self, second: u64, content: &str, revision: Option<u64>) -> Self {
        self.volume = Some(credential(content, revision, second));
        self.decide();
        self
    }

    fn lost(mut self) -> Self {
        self.watched.set_state(
            ApiState::Lost(WatchError { reason: WatchErrorReason::Unreachable, detail: "gone".into() }),
            at(0),
        );
        self.decide();
        self
    }

    fn absent(mut self) -> Self {
        self.watched.set_state(ApiState::Absent, at(0));
        self.decide();
        self
    }

    fn decide(&mut self) -> (SourceKind, Option<String>) {
        let decision = self
            .selector
            .decide(Some(&self.watched), self.volume.as_ref().map_or(VolumeState::None, VolumeState::Read));
        let content = decision.candidate.map(|candidate| {
            let trust = candidate.credential.trust.as_ref().unwrap();
            String::from_utf8(trust.to_vec()).unwrap().replace("ca.crt ", "")
        });
        (decision.authority, content)
    }

    #[track_caller]
    fn serves(mut self, authority: SourceKind, content: &str) -> Self {
        assert_eq!(self.decide(), (authority, Some(content.to_owned())));
        self
    }
}

use SourceKind::{Api, Volume};

#[test]
fn a_volume_alone_is_the_authority() {
    let volume = credential("A", None, 1);
    let decision = SourceSelector::default().decide(None, VolumeState::Read(&volume));
    assert_eq!(decision.authority, Volume);
    assert!(decision.candidate.is_some());
}

#[test]
fn there_is_no_candidate_before_a_source_delivers() {
    assert_eq!(Case::new().decide(), (Api, None));
    assert_eq!(Case::new().lost().decide(), (Api, None));
}

#[test]
fn the_last_version_of_an_api_alone_outlives_its_watch() {
    Case::new().api(1, "A", None).lost().serves(Api, "A").absent().serves(Api, "A");
}

#[test]
fn the_volume_is_what_the_agent_starts_from() {
    Case::new().volume(1, "A", None).serves(Volume, "A").lost().serves(Volume, "A");
}

#[test]
fn a_healthy_watch_decides_whatever_the_volume_shows() {
    let case = Case::new().volume(1, "A", None).api(2, "B", None).serves(Api, "B");
    case.volume(3, "C", None).serves(Api, "B");
}

#[test]
fn a_rollback_of_the_secret_is_taken_even_to_a_lower_revision() {
    let case = Case::new().api(1, "A", Some(1)).api(2, "B", Some(2)).api(3, "A", Some(1)).serves(Api, "A");
    // What was rolled back does not come back from a volume that still has it.
    case.volume(3, "B", Some(2)).lost().serves(Volume, "A");
}

#[test]
fn a_volume_that_caught_up_may_go_back_to_a_lower_revision() {
    let case = Case::new().api(1, "B", Some(12)).volume(1, "B", Some(12)).lost();
    case.volume(2, "A", Some(1)).serves(Volume, "A");
}

#[test]
fn a_lagging_volume_does_not_bring_back_what_preceded_the_api() {
    Case::new().volume(1, "A", None).api(2, "B", None).lost().serves(Volume, "B");
}

#[test]
fn a_lagging_volume_does_not_bring_back_what_the_api_replaced_however_late_it_swaps() {
    let case = Case::new().api(1, "A", None).api(2, "B", None).api(3, "C", None);
    let case = case.volume(1, "A", None).lost().serves(Volume, "C");
    let case = case.volume(9, "B", None).serves(Volume, "C");
    case.volume(10, "C", None).serves(Volume, "C");
}

#[test]
fn a_volume_that_caught_up_decides_from_then_on() {
    let case = Case::new().api(1, "A", None).api(2, "B", None).volume(3, "B", None).lost();
    let case = case.volume(4, "C", None).serves(Volume, "C");
    case.volume(5, "A", None).serves(Volume, "A");
}

#[test]
fn the_next_version_of_the_api_ends_having_caught_up() {
    let case = Case::new().api(1, "A", None).volume(1, "A", None).api(2, "B", None).api(3, "A", None);
    case.volume(2, "B", None).lost().serves(Volume, "A");
}

#[test]
fn a_new_content_is_taken_from_the_volume_while_the_api_is_lost() {
    let case = Case::new().volume(1, "A", None).api(2, "B", None).lost();
    case.volume(3, "C", None).serves(Volume, "C").api(4, "D", None).serves(Api, "D");
}

#[test]
fn revisions_decide_where_both_have_one() {
    let case = Case::new().api(5, "B", Some(2)).lost();
    let case = case.volume(9, "A", Some(1)).serves(Volume, "B");
    // Newer by revision, though swapped in before the API delivered.
    case.volume(4, "C", Some(3)).serves(Volume, "C");
}

#[test]
fn a_deleted_secret_falls_back_to_the_volume_by_the_same_rules() {
    let case = Case::new().volume(1, "A", None).api(2, "B", None).absent().serves(Volume, "B");
    case.volume(3, "C", None).serves(Volume, "C").api(4, "B", None).serves(Api, "B");
}

#[test]
fn superseded_contents_are_bounded() {
    let mut case = Case::new();
    for second in 1..1000 {
        case = case.api(second, &second.to_string(), None);
    }
    case.volume(2000, "998", None).lost().serves(Volume, "999");
}

/// After the volume had replaced what the API delivered last, so that this would be a step back.
#[test]
fn a_volume_that_hangs_leaves_the_decision_to_a_healthy_watch_alone() {
    let mut case = Case::new().api(1, "A", Some(1)).lost().volume(2, "B", Some(2));
    assert_eq!(case.decide(), (Volume, Some("B".into())));
    let mut decide = |watched: Option<&WatchState>| {
        let decision = case.selector.decide(watched, VolumeState::Hanging);
        (decision.authority, decision.candidate.is_some(), decision.why)
    };
    assert_eq!(
        decide(Some(&case.watched)),
        (Volume, false, "the API is lost (unreachable): gone; the directory does not answer".into())
    );
    assert_eq!(decide(None), (Volume, false, "the directory does not answer".into()));
    case.watched.set_state(ApiState::Watching, at(3));
    let decision = case.selector.decide(Some(&case.watched), VolumeState::Hanging);
    assert_eq!((decision.authority, decision.candidate.is_some()), (Api, true));
}
