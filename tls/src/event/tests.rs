//! Each event once, in order.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use super::*;
use crate::credential::Credential;
use crate::fixtures::{Pair, credential, issue, root};
use crate::identity::RejectionReason;
use crate::reloader::Reloader;
use crate::status::Outcome;

fn next(events: &mut Events) -> Option<Event> {
    events.next().now_or_never().flatten()
}

#[test]
fn what_becomes_of_each_credential_is_an_event() {
    let (old, new) = (root("old"), root("new"));
    let sha256 = |root: &crate::fixtures::Root| crate::digest::sha256_hex(root.der());
    let (mut source, identities) = Reloader::builder().start_manually();
    let mut events = identities.subscribe();
    let good = issue(&old, |_| {});
    source.offer(&credential(&good, &[&old]));
    assert!(matches!(next(&mut events), Some(Event::Published { generation: 1, .. })));
    // The first roots are no change, and the same content is no event.
    source.offer(&credential(&good, &[&old]));
    assert!(next(&mut events).is_none());

    let torn = Pair { key: issue(&old, |_| {}).key, ..issue(&old, |_| {}) };
    for _ in 0..2 {
        source.offer(&credential(&torn, &[&old]));
    }
    match next(&mut events) {
        Some(Event::Refused { part: CredentialPart::Leaf, rejection }) => {
            assert_eq!(rejection.reason(), RejectionReason::KeyMismatch);
        }
        other => panic!("{other:?}"),
    }
    assert!(next(&mut events).is_none(), "the same content and reason is one event");

    let later = SystemTime::now() + Duration::from_secs(3600);
    let early = issue(&old, |params| params.not_before = later.into());
    source.offer(&credential(&early, &[&old]));
    assert!(matches!(next(&mut events), Some(Event::Held { .. })));

    source.offer(&credential(&good, &[&old, &new]));
    assert!(matches!(next(&mut events), Some(Event::Published { generation: 2, .. })));
    match next(&mut events) {
        Some(Event::TrustChanged { generation: 2, added, removed }) => {
            assert_eq!((added, removed), (vec![sha256(&new)], vec![]));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut events), Some(Event::Recovered)));
    source.offer(&credential(&issue(&new, |_| {}), &[&new]));
    assert!(matches!(next(&mut events), Some(Event::Published { generation: 3, .. })));
    assert!(
        matches!(next(&mut events), Some(Event::TrustChanged { removed, .. }) if removed == [sha256(&old)])
    );
    assert!(next(&mut events).is_none());
}

#[test]
fn slow_subscriber_learns_how_many_events_it_missed() {
    let root = root("root");
    let (mut source, identities) = Reloader::builder().start_manually();
    let mut events = identities.subscribe();
    let pairs = [issue(&root, |_| {}), issue(&root, |_| {})];
    for number in 0..CAPACITY + 2 {
        source.offer(&credential(&pairs[number % 2], &[&root]));
    }
    assert!(matches!(next(&mut events), Some(Event::Missed(2))));
    assert!(matches!(next(&mut events), Some(Event::Published { generation: 3, .. })));
}

/// What a program reads from files one after the other may not fit together, and it hands over what it has.
#[test]
fn offer_says_what_became_of_this_credential() {
    let root = root("root");
    let (mut source, identities) = Reloader::builder().start_manually();
    let plain = |pair: &Pair| Credential { atomic: false, ..credential(pair, &[&root]) };
    let good = issue(&root, |_| {});
    assert_eq!(source.offer(&plain(&good)), Outcome::Published);
    let torn = Pair { key: issue(&root, |_| {}).key, ..issue(&root, |_| {}) };
    assert_eq!(source.offer(&plain(&torn)), Outcome::Refused);
    assert_eq!(source.offer(&plain(&good)), Outcome::Unchanged);
    assert_eq!(identities.current().unwrap().generation, 1);
    let trust = crate::fixtures::bundle(&[&root]);
    let next = issue(&root, |_| {});
    let credential =
        Credential::pem(next.certificate.into_bytes(), next.key.into_bytes(), trust.into_bytes());
    assert_eq!(source.offer(&credential), Outcome::Published);
}

#[tokio::test]
async fn subscription_ends_with_the_identity() {
    let (source, identities) = Reloader::builder().start_manually();
    let mut events = identities.subscribe();
    drop((source, identities));
    assert!(events.next().await.is_none());
}
