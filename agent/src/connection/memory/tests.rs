#![allow(clippy::unwrap_used)]
use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::pending;
use futures_util::task::noop_waker;
use http_body_util::{Empty, Full, StreamBody};
use hyper::body::Frame;

use super::*;
use crate::proxy_fixture::DEADLINE;

const LIMIT: usize = 8 << 20;
const SHORT: Duration = Duration::from_millis(10);
const SERVED: usize = 10 << 10;
const BUFFER: usize = 24 << 10;
const BLOCKED: usize = 128 << 10;

/// Nothing is kept for either side.
fn budget() -> Arc<MemoryBudget> {
    MemoryBudget::new(LIMIT, 0)
}

fn share(budget: &Arc<MemoryBudget>, identity: u64) -> Arc<Share> {
    budget.of_peer(PeerId { identity, source: 0 })
}

fn connection(budget: &Arc<MemoryBudget>, identity: u64) -> Arc<ConnectionMemory> {
    ConnectionMemory::new(share(budget, identity))
}

fn no_body() -> Upload {
    Upload::of(&Empty::<Bytes>::new())
}

fn of_length(length: usize) -> Upload {
    Upload::of(&Full::new(Bytes::from(vec![0; length])))
}

/// Its end is not known.
fn endless() -> Upload {
    Upload::of(&StreamBody::new(pending::<Result<Frame<Bytes>, Infallible>>()))
}

/// Requests of one connection, until one has to wait.
fn fill(connection: &Arc<ConnectionMemory>, upload: Upload) -> Vec<RequestMemory> {
    std::iter::from_fn(|| connection.admit(upload).now_or_never()?.ok()).collect()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(&noop_waker()))
}

#[tokio::test]
async fn one_client_holds_a_sixth_and_leaves_the_others_their_share() {
    let budget = budget();
    let greedy = fill(&connection(&budget, 0), no_body());
    let held = greedy.len() * SERVED;
    assert!(held <= LIMIT / 6 && held > LIMIT / 6 - 2 * SERVED, "{held}");
    assert_eq!(budget.in_use(), held);
    let others: Vec<_> = (1..=20).map(|identity| connection(&budget, identity)).collect();
    let held: Vec<_> = others.iter().map(|other| fill(other, no_body())).collect();
    // Each has one more than its share, if that is none.
    assert!(budget.in_use() <= LIMIT + 20 * SERVED, "{}", budget.in_use());
    assert!(held[0].len() > 80 && held.iter().all(|requests| !requests.is_empty()));
    drop((greedy, held));
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test]
async fn injected_agent_serves_2000_small_requests_of_one_service_at_once_and_fewer_long_ones() {
    let at_once = |upload| {
        let budget = MemoryBudget::new(128 << 20, 32 << 20);
        fill(&connection(&budget, 0), upload).len()
    };
    assert_eq!((at_once(no_body()), at_once(of_length(4 << 10))), (2184, 2184));
    assert_eq!((at_once(of_length((4 << 10) + 1)), at_once(endless())), (642, 642));
}

#[tokio::test]
async fn long_bodies_hold_buffers_until_they_have_ended() {
    let budget = budget();
    let connection = connection(&budget, 0);
    let request = connection.admit(endless()).await.unwrap();
    assert_eq!(budget.in_use(), SERVED + BUFFER);
    let upload = request.upload(endless());
    request.begin_response(None);
    assert_eq!(budget.in_use(), SERVED + BUFFER, "in both directions at once");
    drop(upload);
    assert_eq!(budget.in_use(), SERVED + BUFFER, "the response");
    drop(request);
    assert_eq!(budget.in_use(), 0);
    let request = connection.admit(endless()).await.unwrap();
    drop(request.upload(endless()));
    assert_eq!(budget.in_use(), SERVED);
    request.begin_response(Some(4 << 10));
    assert_eq!(budget.in_use(), SERVED, "a small response");
    request.begin_response(Some(1 << 20));
    assert_eq!(budget.in_use(), SERVED + BUFFER);
}

#[tokio::test]
async fn quarter_is_kept_for_each_side_whatever_the_other_holds() {
    let budget = MemoryBudget::new(LIMIT, LIMIT / 4);
    let app = ConnectionMemory::new(budget.of_app());
    let held: Vec<_> = (0..1000).map(|identity| fill(&connection(&budget, identity), no_body())).collect();
    assert!(budget.of_side(Side::Inbound) > LIMIT / 4 * 3, "{}", budget.in_use());
    let is_about = |held: usize, part: usize| held <= part && held + SERVED > part;
    let sent_out = fill(&app, no_body()).len() * SERVED;
    assert!(is_about(sent_out, LIMIT / 4), "{sent_out}");
    drop(held);
    let sent_out = fill(&app, no_body());
    assert!(is_about(sent_out.len() * SERVED, LIMIT / 4 * 3), "{}", sent_out.len());
    let client = fill(&connection(&budget, 0), no_body()).len() * SERVED;
    assert!(client > LIMIT / 4 / 6 - 2 * SERVED, "{client}");
}

#[tokio::test]
async fn first_request_of_a_client_is_served_until_clients_hold_half_as_much_again_as_the_budget() {
    let budget = budget();
    let ask = |identity| connection(&budget, identity).admit(no_body()).now_or_never().unwrap();
    let held: Vec<_> = (0..3000).filter_map(|identity| ask(identity).ok()).collect();
    let in_use = budget.in_use();
    assert_eq!(held.len() * SERVED, in_use);
    assert!((LIMIT / 2 * 3..LIMIT / 2 * 3 + SERVED).contains(&in_use), "{in_use}");
}

#[tokio::test]
async fn requests_that_wait_hold_no_more_than_a_share_with_what_their_client_may_send() {
    let budget = budget();
    let connection = connection(&budget, 0);
    let served = fill(&connection, endless());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut request = Box::pin(connection.admit(endless()));
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
    let budget = budget();
    let connection = connection(&budget, 0);
    let mut held = fill(&connection, no_body());
    let share = &connection.share;
    let (mut first, mut second) =
        (Box::pin(share.wait(no_body(), DEADLINE)), Box::pin(share.wait(no_body(), SHORT)));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    // The one that was refused while it was filled waited, too.
    assert_eq!(budget.waited.get(), 3);
    held.pop();
    first.await.unwrap();
    assert_eq!(second.await, Err(NoRoom));
    share.release(SERVED);
    drop(held);
    assert_eq!(budget.in_use(), 0);
    assert!(connection.admit(no_body()).await.is_ok());
}

#[tokio::test]
async fn response_goes_on_piece_by_piece_when_its_connection_has_no_room() {
    let budget = MemoryBudget::new(128 << 20, 0);
    let connection = connection(&budget, 0);
    let (slow, reading) =
        (connection.admit(no_body()).await.unwrap(), connection.admit(no_body()).await.unwrap());
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
    let budget = budget();
    let request = connection(&budget, 0).admit(no_body()).await.unwrap();
    let piece = request.take(Bytes::from_static(b"all"));
    drop(request);
    assert_eq!(budget.in_use(), SERVED + 3);
    drop(piece);
    assert_eq!(budget.in_use(), 0);
}

#[test]
fn connections_of_one_identity_have_one_share() {
    let budget = budget();
    let one = share(&budget, 1);
    assert!(Arc::ptr_eq(&one, &budget.of_peer(PeerId { identity: 1, source: 7 })), "of another source");
    assert!(!Arc::ptr_eq(&one, &share(&budget, 2)));
    drop(one);
    assert!(budget.peers().is_empty());
}

#[test]
fn what_is_relayed_counts_while_its_receiver_does_not_take_it_and_is_little_without_room() {
    let budget = budget();
    let share = share(&budget, 0);
    let block = || {
        let (room, mut memory) = (share.relay_room(), RelayMemory::default());
        memory.block(&share, room);
        (room, memory)
    };
    let blocked: Vec<_> = (0..1000).map(|_| block()).collect();
    let ample = blocked.iter().filter(|(room, _)| *room == RelayRoom::Ample).count();
    assert_eq!(ample, LIMIT / 6 / BLOCKED);
    assert_eq!(blocked[999].0, RelayRoom::Tight { read: 4 << 10 });
    assert_eq!(budget.in_use(), ample * BLOCKED + (1000 - ample) * (8 << 10));
    drop(blocked);
    assert_eq!((budget.in_use(), share.relay_room()), (0, RelayRoom::Ample));
}
