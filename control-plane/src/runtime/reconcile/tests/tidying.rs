//! What has time waits, and takes little of it at once; it does not wait for ever.

use crate::planner::Action;
use crate::planner::observed::ResourceVersion;
use crate::runtime::reconcile::{MAX_TIDIED, MAX_TIDIED_BESIDE, postpone_tidying};

#[test]
fn most_of_tidying_waits_for_a_round_with_nothing_else_to_do() {
    let certificate = || "shop/payments".parse().unwrap();
    let expected = ResourceVersion::default;
    let prune = Action::Prune { certificate: certificate(), version: 1, expected: expected() };
    let remove = Action::RemoveKey { certificate: certificate(), version: 2, expected: expected() };
    let nudge = Action::Nudge { pod: certificate(), revision: 3 };
    let mut actions = [&prune, &nudge, &remove].repeat(MAX_TIDIED);
    postpone_tidying(&mut actions);
    let tidied = actions.iter().filter(|action| action.is_tidying()).count();
    assert_eq!((actions.len(), tidied), (MAX_TIDIED + MAX_TIDIED_BESIDE, MAX_TIDIED_BESIDE));
    let mut actions = [&prune, &remove].repeat(MAX_TIDIED);
    postpone_tidying(&mut actions);
    assert_eq!(actions.len(), MAX_TIDIED);
}
