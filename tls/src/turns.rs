//! Handshakes compute in turns. A flood of them that is ready at once would otherwise be computed in one go, and all
//! other tasks of the thread would wait for all of them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

thread_local! {
    /// One handshake computes between two looks for events.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Polls `handshake` when it is its turn. Between two turns of handshakes, every task of the thread that is ready runs.
pub(crate) async fn in_turns<F: Future>(handshake: F) -> F::Output {
    let turn = TURN.with(Arc::clone);
    let mut handshake = pin!(handshake);
    loop {
        let permit = Arc::clone(&turn).acquire_owned().await;
        let polled = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
        // The runtime goes on with a task that yields when it has run those that are ready, and asked for new events.
        tokio::spawn(async move {
            yield_now().await;
            drop(permit);
        });
        match polled {
            Poll::Ready(output) => return output,
            Poll::Pending => woken().await,
        }
    }
}

/// Until the task is woken, by whatever it was polled for before.
async fn woken() {
    let mut is_woken = false;
    poll_fn(|_| if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_between_the_handshakes_that_are_ready_at_once() {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let handshakes: Vec<_> = (0..100)
            .map(|_| {
                let ran = Arc::clone(&ran);
                tokio::spawn(in_turns(async move { ran.lock().unwrap().push("handshake") }))
            })
            .collect();
        let other = Arc::clone(&ran);
        let requests = tokio::spawn(async move {
            for _ in 0..50 {
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
        assert!((1..=50).contains(&before), "{before} before the last request");
        assert_eq!(ran.len(), 150);
    }

    #[tokio::test]
    async fn handshake_that_waits_for_its_peer_takes_no_turn() {
        let waiting = tokio::spawn(in_turns(std::future::pending::<()>()));
        yield_now().await;
        assert_eq!(in_turns(async { 7 }).await, 7);
        waiting.abort();
    }
}
