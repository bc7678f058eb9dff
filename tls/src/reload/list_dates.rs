//! Revocation lists that go out of date: logged some time before, when the next one is overdue, and when nobody is trusted
//! any more, each once.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds as date;
use tracing::{error, warn};

use crate::identity::{RevocationList, RevocationLists};

/// The most that is warned ahead. For lists with a short life, a quarter of it.
const WARNING: Duration = Duration::from_secs(24 * 3600);

/// What was logged of each list, by its digest.
#[derive(Default)]
pub(super) struct ListDates(HashMap<String, Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Due,
    InGrace,
    Stale,
}

impl ListDates {
    /// Logs what has come to pass since the last time.
    pub(super) fn check(&mut self, served: Option<&RevocationLists>, now: SystemTime) {
        let lists = served.map_or(&[][..], |served| &served.lists);
        let stages = lists.iter().filter_map(|list| Some((list, stage(list, now)?)));
        let mut logged = HashMap::new();
        for (list, stage) in stages {
            if self.0.get(&list.sha256) != Some(&stage) {
                log(list, stage);
            }
            logged.insert(list.sha256.clone(), stage);
        }
        self.0 = logged;
    }
}

fn stage(list: &RevocationList, now: SystemTime) -> Option<Stage> {
    let life = list.next_update.duration_since(list.this_update).unwrap_or_default();
    match () {
        () if now >= list.usable_until() => Some(Stage::Stale),
        () if now >= list.next_update => Some(Stage::InGrace),
        () if now + WARNING.min(life / 4) >= list.next_update => Some(Stage::Due),
        () => None,
    }
}

fn log(list: &RevocationList, stage: Stage) {
    let (issuer, next_update, until) = (&list.issuer, date(list.next_update), date(list.usable_until()));
    match stage {
        Stage::Due => warn!(
            issuer,
            %next_update,
            usable_until = %until,
            "a revocation list is about to go out of date: publish the next one, or nobody under its authority is trusted then"
        ),
        Stage::InGrace => warn!(
            issuer,
            %next_update,
            usable_until = %until,
            "a revocation list is out of date, and used for a time of grace: publish the next one, or nobody under its \
             authority is trusted afterwards"
        ),
        Stage::Stale => error!(
            issuer,
            %next_update,
            usable_until = %until,
            "a revocation list is out of date: nobody under its authority is trusted until the next one is there"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::fixtures;
    use crate::identity::{Identity, Policy};

    #[test]
    fn a_list_is_warned_of_a_day_before_it_is_due_or_a_quarter_of_its_life() {
        const HOUR: Duration = Duration::from_secs(3600);
        let root = fixtures::root("root");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let of_life = |life: Duration| {
            let mut credential = fixtures::credential(&fixtures::issue(&root, |_| {}), &[&root]);
            let text = fixtures::revocation_list(&root, 1, &[], (at, at + life));
            credential.revocation = Ok(text.into_bytes().into());
            let trust = Identity::parse(&credential, &Policy::default(), None, at).trust.unwrap().unwrap();
            Arc::clone(&trust.revocation.as_ref().unwrap().lists[0])
        };
        let week = of_life(7 * 24 * HOUR);
        assert_eq!(stage(&week, at), None);
        assert_eq!(stage(&week, at + 6 * 24 * HOUR - HOUR), None);
        assert_eq!(stage(&week, at + 6 * 24 * HOUR), Some(Stage::Due));
        assert_eq!(stage(&week, at + 7 * 24 * HOUR), Some(Stage::Stale));
        let day = of_life(24 * HOUR);
        assert_eq!(stage(&day, at + 17 * HOUR), None);
        assert_eq!(stage(&day, at + 18 * HOUR), Some(Stage::Due));
    }
}
