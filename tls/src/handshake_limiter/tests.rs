//! Which task gives way, and who is turned away.

#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::pin::Pin;
use std::task::Poll;

use futures_util::poll;

use super::*;
use crate::handshake::HandshakeFailure;

type Task<'a> = Pin<Box<dyn Future<Output = Option<()>> + 'a>>;

/// Tasks of `source` that never end, begun one after the other.
async fn begin<'a>(limiter: &'a HandshakeLimiter, source: &str, count: usize) -> Vec<Task<'a>> {
    let source: IpAddr = source.parse().unwrap();
    let mut tasks: Vec<Task<'a>> = Vec::new();
    for _ in 0..count {
        let mut task: Task<'a> = Box::pin(limiter.run_from(source, pending()));
        assert!(poll!(&mut task).is_pending());
        tasks.push(task);
    }
    tasks
}

/// Which of them are still running.
async fn running(tasks: &mut Vec<Task<'_>>) -> Vec<bool> {
    let mut running = Vec::new();
    for task in tasks {
        running.push(poll!(task) == Poll::Pending);
    }
    running
}

#[tokio::test]
async fn new_task_at_the_limit_evicts_the_longest_running_one() {
    let limiter = HandshakeLimiter::new(2);
    let (first, second) = (limiter.run(pending::<()>()), limiter.run(pending::<()>()));
    tokio::pin!(first, second);
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    assert_eq!(limiter.run(async { 7 }).await, Some(7));
    assert_eq!(first.await, None);
    assert!(poll!(&mut second).is_pending());
    assert_eq!(limiter.active(), 1);
}

#[tokio::test]
async fn source_that_has_most_tasks_gives_way_to_the_others() {
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
    let (honest, hostile) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let fails = async || Err::<(), _>(HandshakeError::NoIdentity);
    assert!(limiter.handshake_from(honest, async { Ok(()) }).await.is_ok());
    let mut turned_away = None;
    for _ in 0..10_000 {
        let error = limiter.handshake_from(hostile, fails()).await.unwrap_err();
        if error.failure() == HandshakeFailure::Throttled {
            turned_away = Some(error);
            break;
        }
    }
    assert_eq!(
        turned_away.unwrap().to_string(),
        "handshake failed: too many handshakes of this source have failed; it may try again in a moment"
    );
    let begun = async { panic!("it was begun") };
    assert!(limiter.handshake_from::<(), _>(hostile, begun).await.is_err());
    assert!(limiter.handshake_from(honest, async { Ok(()) }).await.is_ok());
}

#[tokio::test]
async fn evicted_handshake_has_its_own_kind_of_failure() {
    let limiter = HandshakeLimiter::new(1);
    let source = "10.0.0.1".parse().unwrap();
    let older = limiter.handshake_from(source, pending::<Result<(), _>>());
    tokio::pin!(older);
    assert!(poll!(&mut older).is_pending());
    assert!(limiter.handshake_from(source, async { Ok(()) }).await.is_ok());
    assert_eq!(older.await.unwrap_err().failure(), HandshakeFailure::Evicted);
}
