//! Which task gives way, and who is turned away.

#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;

use futures_util::poll;

use super::*;
use crate::handshake::HandshakeFailure;

type Task<'a> = Pin<Box<dyn Future<Output = Result<(), HandshakeError>> + 'a>>;

fn source(text: &str) -> Source {
    text.parse::<IpAddr>().unwrap().into()
}

/// Handshakes of `from` that never end, begun one after the other.
async fn begin<'a>(limiter: &'a HandshakeLimiter, from: &str, count: usize) -> Vec<Task<'a>> {
    let from = source(from);
    let mut tasks: Vec<Task<'a>> = Vec::new();
    for _ in 0..count {
        let mut task: Task<'a> = Box::pin(limiter.run(from, |_| pending()));
        assert!(poll!(&mut task).is_pending());
        tasks.push(task);
    }
    tasks
}

/// Which of them are still running.
async fn running(tasks: &mut Vec<Task<'_>>) -> Vec<bool> {
    let mut running = Vec::new();
    for task in tasks {
        running.push(poll!(task).is_pending());
    }
    running
}

#[tokio::test]
async fn new_handshake_at_the_limit_evicts_the_one_that_has_waited_longest() {
    let limiter = HandshakeLimiter::new(2);
    let mut waiting = begin(&limiter, "10.0.0.1", 2).await;
    assert!(limiter.run(source("10.0.0.1"), async |_| Ok(())).await.is_ok());
    assert_eq!(running(&mut waiting).await, [false, true]);
    assert_eq!(limiter.active(), 1);
}

#[tokio::test]
async fn handshake_that_waits_to_be_computed_is_not_evicted_by_the_next_of_its_source() {
    let limiter = HandshakeLimiter::new(2);
    let mut activities = Vec::new();
    let ready = limiter.run(source("10.0.0.1"), |activity| {
        activities.push(activity.answer());
        pending::<Result<(), _>>()
    });
    tokio::pin!(ready);
    assert!(poll!(&mut ready).is_pending());
    let mut silent = begin(&limiter, "10.0.0.1", 3).await;
    assert_eq!(running(&mut silent).await, [false, false, true]);
    assert!(poll!(&mut ready).is_pending());
    // Another source has its share all the same.
    let mut others = begin(&limiter, "10.0.0.2", 1).await;
    silent.drain(..2);
    assert_eq!((running(&mut silent).await, running(&mut others).await), (vec![false], vec![true]));
    let refused = limiter.run(source("10.0.0.1"), async |_| Ok(())).await;
    assert!(matches!(refused, Err(HandshakeError::Evicted)), "{refused:?}");
    assert!(poll!(&mut ready).is_pending());
}

#[tokio::test]
async fn handshakes_of_sources_that_are_not_named_share_the_places_and_are_not_throttled() {
    let limiter = HandshakeLimiter::new(2);
    assert!(limiter.run(source("10.0.0.1"), async |_| Ok(())).await.is_ok());
    for _ in 0..10_000 {
        let failed = limiter.run(Source::Unknown, async |_| Err::<(), _>(HandshakeError::NoIdentity)).await;
        assert_eq!(failed.unwrap_err().failure(), HandshakeFailure::NoIdentity);
    }
    let mut unknown: Vec<Task<'_>> = Vec::new();
    for _ in 0..3 {
        unknown.push(Box::pin(limiter.run(Source::Unknown, |_| pending())));
        assert!(poll!(unknown.last_mut().unwrap()).is_pending());
    }
    assert_eq!(running(&mut unknown).await, [false, true, true]);
}

#[tokio::test]
async fn source_that_has_most_gives_way_to_the_others() {
    let limiter = HandshakeLimiter::new(4);
    let mut honest = begin(&limiter, "10.0.0.1", 1).await;
    let mut hostile = begin(&limiter, "10.0.0.2", 5).await;
    assert_eq!(running(&mut honest).await, [true]);
    assert_eq!(running(&mut hostile).await, [false, false, true, true, true]);
    let mut other = begin(&limiter, "10.0.0.3", 1).await;
    assert_eq!(running(&mut honest).await, [true]);
    assert_eq!(running(&mut other).await, [true]);
    hostile.drain(..2);
    assert_eq!(running(&mut hostile).await, [false, true, true]);
    assert_eq!(limiter.active(), 4);
}

#[tokio::test]
async fn source_alone_uses_all_places_and_sources_with_the_same_share_give_way_by_age() {
    let limiter = HandshakeLimiter::new(2);
    let mut first = begin(&limiter, "10.0.0.1", 2).await;
    assert_eq!(running(&mut first).await, [true, true]);
    drop(first);
    assert_eq!(limiter.active(), 0);
    let mut older = begin(&limiter, "10.0.0.1", 1).await;
    let mut newer = begin(&limiter, "10.0.0.2", 1).await;
    let mut newest = begin(&limiter, "10.0.0.3", 1).await;
    assert_eq!(running(&mut older).await, [false]);
    assert_eq!(running(&mut newer).await, [true]);
    assert_eq!(running(&mut newest).await, [true]);
}

#[tokio::test]
async fn addresses_of_one_ipv6_network_are_one_source_and_mapped_ones_are_those_of_ipv4() {
    let limiter = HandshakeLimiter::new(3);
    let mut honest = begin(&limiter, "::ffff:10.0.0.1", 1).await;
    let mut mapped = begin(&limiter, "::ffff:10.0.0.2", 1).await;
    let mut hostile = Vec::new();
    for host in 1..=4 {
        hostile.extend(begin(&limiter, &format!("2001:db8::{host}"), 1).await);
    }
    assert_eq!(running(&mut honest).await, [true]);
    assert_eq!(running(&mut mapped).await, [true]);
    assert_eq!(running(&mut hostile).await, [false, false, false, true]);
    assert_eq!(Source::from("::ffff:10.0.0.1".parse::<IpAddr>().unwrap()), Source::V4(0x0a00_0001));
}

#[tokio::test]
async fn handshake_beyond_the_budget_of_its_source_is_not_begun() {
    let limiter = HandshakeLimiter::new(2);
    let (honest, hostile) = (source("10.0.0.1"), source("10.0.0.2"));
    assert!(limiter.run(honest, async |_| Ok(())).await.is_ok());
    let mut turned_away = None;
    for _ in 0..10_000 {
        let failing = limiter.run(hostile, async |_| Err::<(), _>(HandshakeError::NoIdentity));
        let error = failing.await.unwrap_err();
        if error.failure() == HandshakeFailure::Throttled {
            turned_away = Some(error);
            break;
        }
    }
    assert_eq!(
        turned_away.unwrap().to_string(),
        "handshake failed: too many handshakes of this source have failed; it may try again in a moment"
    );
    assert!(limiter.run::<(), _>(hostile, async |_| panic!("it was begun")).await.is_err());
    assert!(limiter.run(honest, async |_| Ok(())).await.is_ok());
}

#[tokio::test]
async fn evicted_handshake_has_its_own_kind_of_failure() {
    let limiter = HandshakeLimiter::new(1);
    let mut older = begin(&limiter, "10.0.0.1", 1).await;
    assert!(limiter.run(source("10.0.0.1"), async |_| Ok(())).await.is_ok());
    assert_eq!(older.remove(0).await.unwrap_err().failure(), HandshakeFailure::Evicted);
}
