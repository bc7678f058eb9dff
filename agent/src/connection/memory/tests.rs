#![allow(clippy::unwrap_used)]
use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::task::noop_waker;

use super::*;
use crate::proxy_fixture::{DEADLINE, identity, publisher, root};

const LIMIT: usize = 8 << 20;
const SHORT: Duration = Duration::from_millis(10);
const SERVED: usize = 32 << 10;

fn connection(budget: &Arc<MemoryBudget>) -> Arc<ConnectionMemory> {
    ConnectionMemory::new(budget.of_peer(None))
}

/// Requests of one connection, until one has to wait.
fn fill(connection: &Arc<ConnectionMemory>) -> Vec<RequestMemory> {
    std::iter::from_fn(|| connection.admit(false).now_or_never().map(Result::unwrap)).collect()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(&noop_waker()))
}

#[tokio::test]
async fn one_client_holds_a_sixth_and_leaves_the_others_their_share() {
    let budget = MemoryBudget::new(LIMIT);
    let greedy = fill(&connection(&budget));
    let held = greedy.len() * SERVED;
    assert!(held <= LIMIT / 6 && held > LIMIT / 6 - 2 * SERVED, "{held}");
    assert_eq!(budget.in_use(), held);
    let others: Vec<_> = (0..20).map(|_| connection(&budget)).collect();
    let held: Vec<_> = others.iter().map(fill).collect();
    // Each has one more than its share, if that is none.
    assert!(budget.in_use() <= LIMIT + 20 * SERVED, "{}", budget.in_use());
    assert!(held[0].len() > 20 && held.iter().all(|requests| !requests.is_empty()));
    drop((greedy, held));
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test]
async fn first_request_of_a_client_is_served_until_clients_hold_half_as_much_again_as_the_budget() {
    let budget = MemoryBudget::new(LIMIT);
    let ask = |_| connection(&budget).admit(false).now_or_never().unwrap();
    let held: Vec<_> = (0..1000).filter_map(|one| ask(one).ok()).collect();
    assert_eq!((held.len() * SERVED, budget.in_use()), (LIMIT / 2 * 3, LIMIT / 2 * 3));
}

#[tokio::test]
async fn requests_that_wait_hold_no_more_than_a_share_with_what_their_client_may_send() {
    let budget = MemoryBudget::new(LIMIT);
    let connection = connection(&budget);
    let served = fill(&connection);
    let mut waiting = Vec::new();
    let refused = loop {
        let mut request = Box::pin(connection.admit(true));
        match poll(&mut request) {
            Poll::Pending => waiting.push(request),
            Poll::Ready(answer) => break answer,
        }
    };
    assert_eq!(refused.err(), Some(NoRoom));
    assert!(waiting.len() > 10 && waiting.len() * (64 << 10) < LIMIT / 5, "{}", waiting.len());
    drop((waiting, served));
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test]
async fn requests_wait_for_room_and_are_refused_in_the_end() {
    let budget = MemoryBudget::new(LIMIT);
    let connection = connection(&budget);
    let mut held = fill(&connection);
    let share = &connection.share;
    let (mut first, mut second) = (Box::pin(share.wait(false, DEADLINE)), Box::pin(share.wait(false, SHORT)));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    // The one that was refused while it was filled waited, too.
    assert_eq!(budget.waited.get(), 3);
    held.pop();
    first.await.unwrap();
    assert_eq!(second.await, Err(NoRoom));
    share.release(SERVED);
    drop(held);
    assert_eq!(budget.in_use(), 0);
    assert!(connection.admit(false).await.is_ok());
}

#[tokio::test]
async fn response_goes_on_piece_by_piece_when_its_connection_has_no_room() {
    let budget = MemoryBudget::new(128 << 20);
    let connection = connection(&budget);
    let (slow, reading) = (connection.admit(false).await.unwrap(), connection.admit(false).await.unwrap());
    let cx = Context::from_waker(std::task::Waker::noop());
    let piece = || Bytes::from(vec![0; 64 << 10]);
    let mut unread = Vec::new();
    while slow.poll_room(&cx).is_ready() {
        unread.push(slow.take(piece()));
    }
    assert_eq!(unread.len(), 16, "a mebibyte");
    assert_eq!(connection.read_limit(), 4 << 10);
    for _ in 0..100 {
        assert!(reading.poll_room(&cx).is_ready());
        let taken = reading.take(piece());
        assert!(reading.poll_room(&cx).is_pending());
        drop(taken);
    }
    drop(unread);
    assert_eq!(connection.read_limit(), usize::MAX);
    assert!(slow.poll_room(&cx).is_ready());
}

#[tokio::test]
async fn last_piece_keeps_the_room_of_its_request() {
    let budget = MemoryBudget::new(LIMIT);
    let request = connection(&budget).admit(false).await.unwrap();
    let piece = request.take(Bytes::from_static(b"all"));
    drop(request);
    assert_eq!(budget.in_use(), SERVED + 3);
    drop(piece);
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test]
async fn connections_of_one_certificate_have_one_share() {
    let budget = MemoryBudget::new(LIMIT);
    let root = root("clients");
    let peer = || publisher().identities.intern(&identity(&root, &[&root]).leaf.certified.cert).unwrap();
    let (one, other) = (peer(), peer());
    let share = budget.of_peer(Some(&one));
    assert!(Arc::ptr_eq(&share, &budget.of_peer(Some(&one))));
    assert!(!Arc::ptr_eq(&share, &budget.of_peer(Some(&other))));
    assert!(!Arc::ptr_eq(&budget.of_peer(None), &budget.of_peer(None)), "each has its own");
    drop(share);
    assert!(budget.peers().is_empty());
}
