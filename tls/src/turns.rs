//! Handshakes compute in turns. A flood of them that is ready at once would otherwise be computed in one go, and all
//! other tasks of the thread would wait for all of them.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;

thread_local! {
    /// One handshake computes between two rounds of the thread's other tasks.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Polls `handshake` when it is its turn. Between two turns of handshakes, every task of the thread that is ready runs.
pub(crate) async fn in_turns<F: Future>(handshake: F) -> F::Output {
    let turn = TURN.with(Arc::clone);
    let mut handshake = pin!(handshake);
    loop {
        let permit = Arc::clone(&turn).acquire_owned().await;
        let polled = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
        // A task that is spawned now runs after those that are ready.
        tokio::spawn(async move { drop(permit) });
        match polled {
            Poll::Ready(output) => return output,
            Poll::Pending => woken().await,
        }
    }
}

/// Until the task is woken, by whatever it was polled for before.
async fn woken() {
    let waits = Cell::new(true);
    poll_fn(|_| if waits.replace(false) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_between_the_handshakes_that_are_ready_at_once() {
        let ran = Rc::new(RefCell::new(Vec::new()));
        let local = LocalSet::new();
        for _ in 0..100 {
            let ran = Rc::clone(&ran);
            local.spawn_local(in_turns(async move { ran.borrow_mut().push("handshake") }));
        }
        let other = Rc::clone(&ran);
        local.spawn_local(async move {
            for _ in 0..50 {
                other.borrow_mut().push("request");
                yield_now().await;
            }
        });
        local.await;
        let ran = ran.borrow();
        let handshakes = |until: usize| ran[..until].iter().filter(|what| **what == "handshake").count();
        let last_request = ran.iter().rposition(|what| *what == "request").unwrap();
        assert!(handshakes(last_request) <= 60, "{} before the last request", handshakes(last_request));
        assert_eq!(handshakes(ran.len()), 100);
    }

    #[tokio::test]
    async fn handshake_that_waits_for_its_peer_takes_no_turn() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let waiting = spawn_local(in_turns(std::future::pending::<()>()));
                assert_eq!(in_turns(async { 7 }).await, 7);
                waiting.abort();
            })
            .await;
    }
}
