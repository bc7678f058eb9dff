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

/// Issued so long ago, for 90 hours.
fn aged(age: Duration) -> Option<Validity> {
    let issued = now() - age;
    Some(Validity { not_before: issued - BACKDATE, not_after: issued + TIMING.lifetime, names: true })
}

#[test]
fn every_state_has_its_step() {
    let ago = |count| Some(now() - minutes(count));
    let soon = |count| Step::Wait(Some(now() + minutes(count)));
    let note = Step::NoteTrusted(Some(now()));
    let steady = Seen { current: aged(hours(1)), trust: Some(Trust::Same), ..Seen::default() };
    let due = Seen { current: aged(hours(60)), ..steady.clone() };
    let not_due = Seen { current: aged(hours(60) - minutes(1)), ..steady.clone() };
    let waiting = Seen { next: aged(minutes(1)), ..due.clone() };
    let first = Seen { current: None, ..waiting.clone() };
    let told = Seen { trusted_at: ago(5), ..waiting.clone() };
    let retiring = Seen { retired: true, ..steady.clone() };
    let unnamed = aged(hours(1)).map(|validity| Validity { names: false, ..validity });
    let untold = Some(Trust::Other);
    let table = [
        ("nothing at all", Seen::default(), Step::Prepare),
        ("only a webhook configuration", Seen { trust: untold, ..Seen::default() }, Step::Prepare),
        ("a lost leaf, roots left", Seen { current: None, ..retiring.clone() }, Step::Prepare),
        ("the first, nobody to tell", Seen { trust: None, ..first.clone() }, Step::Wait(None)),
        ("the first, untold", Seen { trust: untold, ..first.clone() }, Step::Trust),
        ("the first, told", first.clone(), note),
        ("the first, told before", Seen { trusted_at: ago(1), ..first.clone() }, Step::Promote),
        ("the first, told just now", Seen { trusted_at: ago(0), ..first }, Step::Wait(Some(now() + IN_NEED))),
        ("all is well", steady.clone(), soon(59 * 60)),
        ("two thirds of its life are over", due, Step::Prepare),
        ("just before that", not_due, soon(1)),
        ("another name is asked for", Seen { current: unnamed, ..steady.clone() }, Step::Prepare),
        ("caBundle edited", Seen { trust: untold, ..steady.clone() }, Step::Trust),
        ("configuration deleted", Seen { trust: None, ..steady.clone() }, Step::Wait(None)),
        ("bundle edited", Seen { mangled: true, ..steady }, Step::Mend),
        ("next waits, untold", Seen { trust: untold, ..waiting.clone() }, Step::Trust),
        ("next waits, told", waiting.clone(), note),
        ("a clock was wrong", Seen { trusted_at: Some(now() + hours(1)), ..waiting.clone() }, note),
        ("within the overlap", Seen { trusted_at: ago(4), ..waiting }, soon(1)),
        ("after the overlap", told.clone(), Step::Promote),
        ("told, and taken back", Seen { trust: untold, ..told.clone() }, Step::NoteTrusted(None)),
        ("told, and more beside it", Seen { trust: Some(Trust::HasNext), ..told.clone() }, Step::Trust),
        ("told, then deleted", Seen { trust: None, ..told.clone() }, Step::Wait(None)),
        ("promoted just now", Seen { promoted_at: ago(4), ..retiring.clone() }, soon(1)),
        ("promoted before", Seen { promoted_at: ago(5), ..retiring.clone() }, Step::Retire),
        ("promoted, who knows when", retiring.clone(), Step::NotePromoted),
        ("promoted later", Seen { promoted_at: Some(now() + hours(1)), ..retiring }, Step::NotePromoted),
        (
            "a root of nobody while the next waits",
            Seen { retired: true, promoted_at: ago(5), trusted_at: ago(1), ..told },
            Step::Retire,
        ),
    ];
    for (state, seen, step) in table {
        assert_eq!(plan(&seen, now(), TIMING), step, "{state}: {seen:?}");
    }
}

#[test]
fn a_shorter_lifetime_holds_at_once() {
    let young = aged(hours(3)).unwrap();
    assert_eq!(young.renew_at(TIMING.lifetime), now() + hours(57));
    assert_eq!(young.renew_at(hours(3)), now() - hours(1));
}
