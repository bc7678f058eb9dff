//! What can be said before there is a pod to ask.

use super::*;
use crate::api::algorithm::Algorithm;
use crate::pki::authority::{Authority, AuthorityRequest};

const HOUR: Duration = Duration::from_secs(3600);

fn authority(lifetime: Duration, now: SystemTime) -> Authority {
    let request = AuthorityRequest { common_name: "root".into(), algorithm: Algorithm::P256, lifetime };
    Authority::create(&request, now).unwrap()
}

fn prober() -> Prober {
    Prober::new("spiffe://hotcert/control-plane")
}

#[test]
fn client_is_kept_until_it_is_due_or_the_keyring_has_other_roots() {
    let now = SystemTime::now();
    let mut keyring = Keyring::new(authority(100 * HOUR, now));
    let root = keyring.state.signing().clone();
    let prober = prober();
    let made = |keyring: &Keyring, now| {
        let authority = &keyring.roots[&root];
        prober.clients.under(&root, authority, keyring, now).unwrap()
    };
    let same = |a: &Client, b: &Client| a.same_as(b);
    let first = made(&keyring, now);
    assert!(same(&first, &made(&keyring, now + HOUR / 2)));
    let renewed = made(&keyring, now + HOUR * 3 / 4);
    assert!(!same(&first, &renewed), "in time before its end");
    assert!(!same(&renewed, &made(&keyring, now)), "the clock was put back");
    let before = made(&keyring, now);
    keyring.add(authority(HOUR, now));
    assert!(!same(&before, &made(&keyring, now)), "another root came");
}

#[test]
fn client_under_a_root_about_to_expire_is_made_all_the_same() {
    let now = SystemTime::now();
    let keyring = Keyring::new(authority(Duration::from_secs(60), now));
    let root = keyring.state.signing().clone();
    let trial = prober().trial(&keyring, &[root], now).unwrap();
    assert_eq!((trial.clients.len(), trial.expired.len()), (1, 0));
}

#[test]
fn roots_that_are_gone_are_passed_over_and_expired_ones_not_tried() {
    let now = SystemTime::now();
    let mut keyring = Keyring::new(authority(100 * HOUR, now));
    let (lasting, gone) = (keyring.state.signing().clone(), RootId("0".repeat(64)));
    let short = keyring.add(authority(HOUR, now));
    let later = now + 2 * HOUR;
    let trial = prober().trial(&keyring, &[lasting.clone(), short.clone(), gone.clone()], later).unwrap();
    let tried: Vec<_> = trial.clients.iter().map(|(root, _)| root).collect();
    assert_eq!((tried, &trial.expired), (vec![&lasting], &vec![short.clone()]));
    for roots in [vec![short], vec![gone], Vec::new()] {
        let trial = prober().trial(&keyring, &roots, later);
        assert!(matches!(trial.err(), Some(ProveError::NoSuchRoot(_))), "{roots:?}");
    }
}

#[test]
fn prober_shows_no_key() {
    let now = SystemTime::now();
    let keyring = Keyring::new(authority(HOUR, now));
    let prober = prober();
    prober.trial(&keyring, &[keyring.state.signing().clone()], now).unwrap();
    assert_eq!(
        format!("{prober:?}"),
        r#"Prober { clients: Clients { spiffe_id: "spiffe://hotcert/control-plane", .. } }"#
    );
}
