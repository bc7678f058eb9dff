//! What can be tested without a pod.

use std::time::{Duration, SystemTime};

use super::*;
use crate::pki::authority::{Authority, AuthorityRequest};
use crate::pki::keyring::{Keyring, RootId};
use crate::proof::client_certificate::Client;

const HOUR: Duration = Duration::from_secs(3600);

fn authority(lifetime: Duration, now: SystemTime) -> Authority {
    let request = AuthorityRequest { common_name: "root".into(), lifetime, ..Default::default() };
    Authority::create(&request, now).unwrap()
}

fn prober() -> Prober {
    Prober::new("spiffe://hotcert/control-plane")
}

#[test]
fn a_client_is_reused_until_it_is_due_or_the_keyring_has_other_roots() {
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
    assert!(!same(&renewed, &made(&keyring, now)), "the clock was set back");
    let before = made(&keyring, now);
    keyring.add(authority(HOUR, now));
    assert!(!same(&before, &made(&keyring, now)), "another root came");
}

#[test]
fn a_client_is_issued_under_a_root_that_is_about_to_expire() {
    let now = SystemTime::now();
    let keyring = Keyring::new(authority(Duration::from_secs(60), now));
    let root = keyring.state.signing().clone();
    let attempt = prober().attempt(&keyring, &[root], now).unwrap();
    assert_eq!((attempt.clients.len(), attempt.expired.len()), (1, 0));
}

#[test]
fn roots_that_are_gone_are_skipped_and_expired_roots_are_not_tried() {
    let now = SystemTime::now();
    let mut keyring = Keyring::new(authority(100 * HOUR, now));
    let (lasting, gone) = (keyring.state.signing().clone(), RootId("0".repeat(64)));
    let short = keyring.add(authority(HOUR, now));
    let later = now + 2 * HOUR;
    let attempt = prober().attempt(&keyring, &[lasting.clone(), short.clone(), gone.clone()], later).unwrap();
    let tried: Vec<_> = attempt.clients.iter().map(|(root, _)| root).collect();
    assert_eq!((tried, &attempt.expired), (vec![&lasting], &vec![short.clone()]));
    for roots in [vec![short], vec![gone], Vec::new()] {
        let attempt = prober().attempt(&keyring, &roots, later);
        assert!(matches!(attempt.err(), Some(ProofError::NoSuchRoot(_))), "{roots:?}");
    }
}

#[test]
fn debug_output_of_a_prober_contains_no_key() {
    let now = SystemTime::now();
    let keyring = Keyring::new(authority(HOUR, now));
    let prober = prober();
    prober.attempt(&keyring, &[keyring.state.signing().clone()], now).unwrap();
    assert_eq!(
        format!("{prober:?}"),
        r#"Prober { clients: Clients { spiffe_id: "spiffe://hotcert/control-plane", .. } }"#
    );
}
