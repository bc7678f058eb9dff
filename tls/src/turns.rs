//! Handshakes compute in turns. A flood of them that is ready at once would otherwise be computed in one go, and all
//! other tasks of the thread would wait for all of them.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::fair_limiter::Activity;

/// So long do handshakes compute between two looks for events.
const SLICE: Duration = Duration::from_millis(1);

thread_local! {
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
    /// When the first of them began since the last look.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polls `handshake` when it is its turn. After a slice of time of handshakes, every task of the thread that is ready
/// runs. `activity` knows when it waits for its turn, and when for its peer.
pub(crate) async fn in_turns<F: Future>(activity: &Activity, handshake: F) -> F::Output {
    let turn = TURN.with(Arc::clone);
    let mut handshake = pin!(handshake);
    loop {
        let waits_for_this_thread = activity.answer();
        let permit = Arc::clone(&turn).acquire_owned().await;
        let began = BEGAN.get().unwrap_or_else(begin_slice);
        let polled = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
        if began.elapsed() < SLICE {
            drop(permit);
        } else {
            after_other_tasks(move || drop(permit));
        }
        drop(waits_for_this_thread);
        match polled {
            Poll::Ready(output) => return output,
            Poll::Pending => woken().await,
        }
    }
}

fn begin_slice() -> Instant {
    let now = Instant::now();
    BEGAN.set(Some(now));
    after_other_tasks(|| BEGAN.set(None));
    now
}

/// The runtime goes on with a task that yields when it has run those that are ready, and asked for new events.
fn after_other_tasks(then: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        yield_now().await;
        then();
    });
}

/// Until the task is woken, by whatever it was polled for before.
async fn woken() {
    let mut is_woken = false;
    poll_fn(|_| if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Mutex;

    use super::*;
    use crate::fair_limiter::{FairLimiter, Place};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn place() -> Place {
        FairLimiter::new(1).place(PEER).unwrap()
    }

    #[tokio::test]
    async fn other_tasks_run_between_the_handshakes_that_are_ready_at_once() {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let handshakes: Vec<_> = (0..100)
            .map(|_| {
                let ran = Arc::clone(&ran);
                tokio::spawn(async move {
                    let handshake = async {
                        // As long as a handshake takes.
                        let began = Instant::now();
                        while began.elapsed() < SLICE / 5 {}
                        ran.lock().unwrap().push("handshake");
                    };
                    in_turns(&place().activity(), handshake).await;
                })
            })
            .collect();
        let other = Arc::clone(&ran);
        let requests = tokio::spawn(async move {
            for _ in 0..10 {
                other.lock().unwrap().push("request");
                yield_now().await;
            }
        });
        requests.await.unwrap();
        for handshake in handshakes {
            handshake.await.unwrap();
        }
        let ran = ran.lock().unwrap();
        let last_request = ran.iter().rposition(|what| *what == "request").unwrap();
        let before = ran[..last_request].iter().filter(|what| **what == "handshake").count();
        assert!((1..100).contains(&before), "{before} before the last request");
        assert_eq!(ran.len(), 110);
    }

    #[tokio::test]
    async fn handshake_that_waits_for_its_peer_takes_no_turn() {
        let waiting = tokio::spawn(async {
            in_turns(&place().activity(), std::future::pending::<()>()).await;
        });
        yield_now().await;
        assert_eq!(in_turns(&place().activity(), async { 7 }).await, 7);
        waiting.abort();
    }

    #[tokio::test]
    async fn handshake_gives_way_while_it_waits_for_its_peer_and_not_while_it_waits_for_its_turn() {
        let limiter = FairLimiter::new(1);
        let place = limiter.place(PEER).unwrap();
        let activity = place.activity();
        let handshake = in_turns(&activity, std::future::pending::<()>());
        tokio::pin!(handshake);
        let turn = TURN.with(Arc::clone).acquire_owned().await.unwrap();
        assert!(futures_util::poll!(&mut handshake).is_pending());
        assert!(limiter.place(PEER).is_none(), "it waits for its turn");
        drop(turn);
        assert!(futures_util::poll!(&mut handshake).is_pending());
        assert!(limiter.place(PEER).is_some(), "it waits for its peer");
    }
}
