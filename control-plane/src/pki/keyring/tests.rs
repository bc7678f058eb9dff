use std::time::{Duration, SystemTime};

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn root(name: &str) -> RootId {
    RootId(name.into())
}

fn rolling(phase: Phase) -> State {
    let mut state = State::steady(root("a"));
    assert!(state.begin(root("b"), "why".into(), NOW));
    for out_of in [Phase::Distributing, Phase::Reissuing, Phase::Retiring] {
        if out_of < phase {
            assert!(state.advance(out_of, NOW));
        }
    }
    state
}

fn trusted(state: &State) -> Vec<&str> {
    state.trusted().into_iter().map(|root| root.0.as_str()).collect()
}

#[test]
fn a_rollover_goes_from_one_root_to_the_other() {
    let mut state = rolling(Phase::Distributing);
    assert_eq!((trusted(&state), state.signing()), (vec!["a", "b"], &root("a")));
    assert!(!state.begin(root("c"), "a second".into(), NOW));
    assert!(!state.advance(Phase::Reissuing, NOW), "out of a phase it is not in");
    let later = NOW + Duration::from_secs(1);
    assert!(state.advance(Phase::Distributing, later));
    assert_eq!((trusted(&state), state.signing()), (vec!["a", "b"], &root("b")));
    assert_eq!(state.rollover().unwrap().phase_started_at, later);
    assert!(state.advance(Phase::Reissuing, later));
    assert_eq!((trusted(&state), state.signing()), (vec!["b"], &root("b")));
    assert_eq!(state.needed().len(), 2, "the old root proves that it is refused");
    assert!(state.advance(Phase::Retiring, later));
    assert_eq!(state.stage, Stage::Steady(root("b")));
    assert_eq!(state.rollover_history.len(), 1);
}

#[test]
fn a_reversal_never_signs_with_a_root_that_somebody_has_lost() {
    for (phase, expected) in [
        (Phase::Distributing, Phase::Retiring),
        (Phase::Reissuing, Phase::Reissuing),
        (Phase::Retiring, Phase::Distributing),
    ] {
        let mut state = rolling(phase);
        assert!(state.reverse("bad root".into(), NOW));
        let rollover = state.rollover().unwrap().clone();
        assert_eq!((rollover.phase, rollover.reversed), (expected, true));
        assert_eq!((rollover.from, rollover.to), (root("b"), root("a")));
        let (trust, signing) = match phase {
            Phase::Distributing => (vec!["a"], "a"),
            Phase::Reissuing => (vec!["b", "a"], "a"),
            Phase::Retiring => (vec!["b", "a"], "b"),
        };
        assert_eq!((trusted(&state), state.signing()), (trust, &root(signing)));
    }
    assert!(!State::steady(root("a")).reverse("nothing".into(), NOW));
}

#[test]
fn a_removed_root_is_neither_trusted_nor_signs() {
    let mut steady = State::steady(root("a"));
    assert!(!steady.remove(&root("a"), None, "lost key".into(), NOW), "nothing would be left");
    assert!(!steady.remove(&root("x"), Some(root("b")), "unknown".into(), NOW));
    assert!(steady.remove(&root("a"), Some(root("b")), "lost key".into(), NOW));
    assert_eq!((trusted(&steady), steady.signing()), (vec!["b"], &root("b")));
    assert!(!steady.reverse("what was removed does not come back".into(), NOW));
    for phase in [Phase::Distributing, Phase::Reissuing, Phase::Retiring] {
        for (removed, left) in [("a", "b"), ("b", "a")] {
            let mut state = rolling(phase);
            assert!(state.remove(&root(removed), None, "lost key".into(), NOW));
            assert_eq!((trusted(&state), state.signing()), (vec![left], &root(left)));
            assert!(state.rollover().unwrap().forced);
        }
    }
}

#[test]
fn a_root_that_was_removed_does_not_come_back_when_its_successor_is_removed_too() {
    let mut state = rolling(Phase::Reissuing);
    assert!(state.remove(&root("b"), None, "stolen".into(), NOW));
    assert_eq!(state.survivor(&root("a")), None);
    assert!(!state.clone().remove(&root("a"), None, "stolen too".into(), NOW));
    assert!(state.remove(&root("a"), Some(root("c")), "stolen too".into(), NOW));
    assert_eq!((trusted(&state), state.signing()), (vec!["c"], &root("c")));
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let mut state = rolling(Phase::Reissuing);
    state.record_handled("rollover", "1", "begun", NOW);
    state.add_overrides([Override { pod: "shop/x".into(), uid: "u".into(), reason: "gone".into(), at: NOW }]);
    // The ledger is stored beside it.
    state.ledger = None;
    let text = serde_json::to_string(&state).unwrap();
    // Its ledger is a file of its own.
    state.ledger = None;
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}

#[test]
fn keys_that_nothing_needs_are_dropped() {
    let make = |name: &str| {
        let lifetime = Duration::from_secs(3600);
        let request = crate::pki::authority::AuthorityRequest {
            common_name: name.into(),
            lifetime,
            ..Default::default()
        };
        Authority::create(&request, SystemTime::now()).unwrap()
    };
    let mut ring = Keyring::new(make("one"));
    let to = ring.add(make("two"));
    ring.state.begin(to.clone(), "why".into(), NOW);
    for phase in [Phase::Distributing, Phase::Reissuing, Phase::Retiring] {
        ring.tidy();
        assert_eq!(ring.roots.len(), 2);
        assert!(ring.state.advance(phase, NOW));
    }
    ring.tidy();
    assert_eq!(ring.roots.keys().collect::<Vec<_>>(), [&to]);
    assert_eq!(ring.bundle(), ring.signing().unwrap().certificate_pem());
}

/// As a controller of release 0.2.0 wrote it: both have to read what the other writes.
const STORED: &str = r#"{
  "stage": {
    "rolling": {
      "from": "a166112f7f2de7a3c416ba9661925458621ba20000c947ff9a2bcc57a12f7db1",
      "to": "094fb1fcfc50b7bb9b8f23adaac8c7656a138f36be6733777d102c99d363c787",
      "phase": "Reissuing",
      "startedAt": "2026-11-30T13:44:30.734571026Z",
      "phaseStartedAt": "2026-11-30T13:45:00Z",
      "reason": "requested",
      "forced": false,
      "reversed": true,
      "redistributing": false,
      "overrides": [
        {
          "pod": "shop/payments-0",
          "uid": "u",
          "reason": "it hangs",
          "at": "2026-11-30T13:44:40.500000000Z"
        }
      ]
    }
  },
  "handledRequests": {
    "rollover": {
      "id": "28d7be8f9e07",
      "outcome": "begun",
      "handledAt": "2026-11-30T13:44:30.734571026Z"
    }
  },
  "rolloverHistory": [
    {
      "rollover": {
        "from": "094fb1fcfc50b7bb9b8f23adaac8c7656a138f36be6733777d102c99d363c787",
        "to": "a166112f7f2de7a3c416ba9661925458621ba20000c947ff9a2bcc57a12f7db1",
        "phase": "Retiring",
        "startedAt": "2026-11-30T13:44:30.734571026Z",
        "phaseStartedAt": "2026-11-30T13:44:56.544278565Z",
        "reason": "requested",
        "forced": false,
        "reversed": false,
        "redistributing": false,
        "overrides": []
      },
      "endedAt": "2026-11-30T13:44:56.544278565Z"
    }
  ]
}"#;

#[test]
fn a_stored_state_is_read_and_written_as_it_was() {
    let state: State = serde_json::from_str(STORED).unwrap();
    assert_eq!(state.rollover().map(|rollover| rollover.phase), Some(Phase::Reissuing));
    assert_eq!(serde_json::to_string_pretty(&state).unwrap(), STORED);
}
