//! One writer, many readers.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::FutureExt as _;

use super::*;
use crate::fixtures::{configs, identity, issue, root};

const DELIVERY: Delivery = Delivery { from: SourceKind::Volume, changed_at: None, written_at: None };

fn two_identities() -> [Identity; 2] {
    let root = root("root");
    [0, 1].map(|_| identity(&issue(&root, |_| {}), &[&root]))
}

fn publish(publisher: &mut Publisher, identity: &Identity) -> Arc<Snapshot> {
    publisher.publish(identity.clone(), configs(identity), DELIVERY)
}

#[test]
fn reader_sees_nothing_before_the_first_publication() {
    let (mut publisher, mut current) = channel();
    assert!(current.load().is_none());
    assert!(current.first().now_or_never().is_none());
    let published = publish(&mut publisher, &two_identities()[0]);
    assert_eq!(published.generation, 1);
    let first = current.first().now_or_never().unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &published));
}

#[test]
fn changed_waits_for_a_publication_that_this_reader_has_not_seen() {
    let (mut publisher, mut current) = channel();
    let [one, two] = two_identities();
    publish(&mut publisher, &one);
    assert_eq!(current.changed().now_or_never().unwrap().unwrap().generation, 1);
    assert!(current.changed().now_or_never().is_none());
    // Of several publications in between, the last is loaded.
    publish(&mut publisher, &two);
    publish(&mut publisher, &one);
    assert_eq!(current.changed().now_or_never().unwrap().unwrap().generation, 3);
    assert!(current.changed().now_or_never().is_none());
}

#[test]
fn connection_keeps_the_snapshot_it_loaded() {
    let (mut publisher, current) = channel();
    let [one, two] = two_identities();
    publish(&mut publisher, &one);
    let loaded = current.load().unwrap();
    publish(&mut publisher, &two);
    assert!(loaded.identity.leaf.same_as(&one.leaf));
    assert!(current.load().unwrap().identity.leaf.same_as(&two.leaf));
}

#[test]
fn end_of_the_writer_ends_the_wait_and_keeps_what_is_current() {
    let (mut publisher, mut current) = channel();
    let mut late = current.clone();
    publish(&mut publisher, &two_identities()[0]);
    current.changed().now_or_never().unwrap().unwrap();
    drop(publisher);
    assert!(current.changed().now_or_never().unwrap().is_none());
    assert!(current.load().is_some());
    assert!(late.first().now_or_never().unwrap().is_some());
    let (_, mut never) = channel();
    assert!(never.first().now_or_never().unwrap().is_none());
}

#[test]
fn readers_see_generation_and_identity_of_one_publication_and_never_go_back() {
    let (mut publisher, current) = channel();
    let identities = two_identities();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Relaxed) {
                    let Some(snapshot) = current.load() else { continue };
                    assert!(snapshot.generation >= newest);
                    newest = snapshot.generation;
                    let expected = &identities[(newest % 2) as usize];
                    assert!(snapshot.identity.leaf.same_as(&expected.leaf));
                }
            });
        }
        for generation in 1..=200 {
            publish(&mut publisher, &identities[generation % 2]);
        }
        done.store(true, Relaxed);
    });
    assert_eq!(current.load().unwrap().generation, 200);
}
