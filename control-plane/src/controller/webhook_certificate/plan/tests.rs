use std::time::UNIX_EPOCH;

use super::*;

const TIMING: Timing = Timing { lifetime: hours(90), overlap: minutes(5) };

const fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Issued this long ago, for 90 hours.
fn aged(age: Duration) -> Option<Validity> {
    let issued = now() - age;
    Some(Validity { not_before: issued - BACKDATE, not_after: issued + TIMING.lifetime, names_match: true })
}

#[test]
fn every_state_has_a_next_step() {
    let ago = |count| Some(now() - minutes(count));
    let soon = |count| Step::Wait(Some(now() + minutes(count)));
    let record = Step::RecordTrusted(Some(now()));
    let steady = Observed { current: aged(hours(1)), trust: Some(Trust::Same), ..Observed::default() };
    let due = Observed { current: aged(hours(60)), ..steady.clone() };
    let not_due = Observed { current: aged(hours(60) - minutes(1)), ..steady.clone() };
    let waiting = Observed { next: aged(minutes(1)), ..due.clone() };
    let first = Observed { current: None, ..waiting.clone() };
    let expired = Observed { current: aged(TIMING.lifetime), ..waiting.clone() };
    let trusted = Observed { trusted_at: ago(5), ..waiting.clone() };
    let retiring = Observed { has_old_roots: true, ..steady.clone() };
    let unnamed = aged(hours(1)).map(|validity| Validity { names_match: false, ..validity });
    let untrusted = Some(Trust::Other);
    let table = [
        ("nothing at all", Observed::default(), Step::Prepare),
        ("only a webhook configuration", Observed { trust: untrusted, ..Observed::default() }, Step::Prepare),
        ("a lost leaf, roots left", Observed { current: None, ..retiring.clone() }, Step::Prepare),
        ("the first, no configuration", Observed { trust: None, ..first.clone() }, Step::Wait(None)),
        ("the first, not trusted yet", Observed { trust: untrusted, ..first.clone() }, Step::Trust),
        ("the first, trusted", first.clone(), record),
        ("the first, trusted before", Observed { trusted_at: ago(1), ..first.clone() }, Step::Promote),
        (
            "the first, trusted just now",
            Observed { trusted_at: ago(0), ..first },
            Step::Wait(Some(now() + URGENT_OVERLAP)),
        ),
        (
            "an expired one, its successor trusted before",
            Observed { trusted_at: ago(1), ..expired },
            Step::Promote,
        ),
        ("steady", steady.clone(), soon(59 * 60)),
        ("two thirds of its lifetime have passed", due, Step::Prepare),
        ("just before that", not_due, soon(1)),
        ("another name is needed", Observed { current: unnamed, ..steady.clone() }, Step::Prepare),
        ("caBundle edited", Observed { trust: untrusted, ..steady.clone() }, Step::Trust),
        ("configuration deleted", Observed { trust: None, ..steady.clone() }, Step::Wait(None)),
        ("bundle edited", Observed { bundle_modified: true, ..steady }, Step::Repair),
        ("next prepared, not trusted yet", Observed { trust: untrusted, ..waiting.clone() }, Step::Trust),
        ("next prepared, trusted", waiting.clone(), record),
        ("a clock was wrong", Observed { trusted_at: Some(now() + hours(1)), ..waiting.clone() }, record),
        ("within the overlap", Observed { trusted_at: ago(4), ..waiting }, soon(1)),
        ("after the overlap", trusted.clone(), Step::Promote),
        (
            "trusted, and removed again",
            Observed { trust: untrusted, ..trusted.clone() },
            Step::RecordTrusted(None),
        ),
        (
            "trusted, with others beside it",
            Observed { trust: Some(Trust::HasNext), ..trusted.clone() },
            Step::Trust,
        ),
        ("trusted, then deleted", Observed { trust: None, ..trusted.clone() }, Step::Wait(None)),
        ("promoted just now", Observed { promoted_at: ago(4), ..retiring.clone() }, soon(1)),
        ("promoted before", Observed { promoted_at: ago(5), ..retiring.clone() }, Step::Retire),
        ("promoted at an unknown time", retiring.clone(), Step::RecordPromoted),
        (
            "promoted in the future",
            Observed { promoted_at: Some(now() + hours(1)), ..retiring },
            Step::RecordPromoted,
        ),
        (
            "an old root while the next is distributed",
            Observed { has_old_roots: true, promoted_at: ago(5), trusted_at: ago(1), ..trusted },
            Step::Retire,
        ),
    ];
    for (state, observed, step) in table {
        assert_eq!(plan(&observed, now(), TIMING), step, "{state}: {observed:?}");
    }
}

#[test]
fn a_shorter_lifetime_applies_at_once() {
    let young = aged(hours(3)).unwrap();
    assert_eq!(young.renew_at(TIMING.lifetime), now() + hours(57));
    assert_eq!(young.renew_at(hours(3)), now() - hours(1));
}
