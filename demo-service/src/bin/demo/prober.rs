//! The prober: dials one agent again and again, from outside, and says when a leaf was first served.
//!
//! While a leaf is expected it dials without a pause between handshakes; otherwise now and then, so
//! that a broken leaf served for a moment is seen too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;

use crate::outside::{Front, Outside};
use crate::sightings::Fingerprint;
use crate::tally::Tally;

const IDLE_PAUSE: Duration = Duration::from_millis(25);

struct Expectation {
    leaf: Fingerprint,
    served: oneshot::Sender<Instant>,
}

/// Stops when dropped.
pub struct Prober {
    expectations: mpsc::UnboundedSender<Expectation>,
    task: AbortHandle,
}

impl Prober {
    pub fn start(front: Front, outside: Arc<Outside>, tally: Arc<Tally>) -> Self {
        let (expectations, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(probe(front, outside, tally, receiver)).abort_handle();
        Self { expectations, task }
    }

    /// When the first handshake that showed this leaf was done. Ask before publishing it.
    pub fn expect(&self, leaf: Fingerprint) -> oneshot::Receiver<Instant> {
        let (served, receiver) = oneshot::channel();
        // If the task is gone, so is the sender, and the receiver says so.
        let _ = self.expectations.send(Expectation { leaf, served });
        receiver
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn probe(
    front: Front,
    outside: Arc<Outside>,
    tally: Arc<Tally>,
    mut expectations: mpsc::UnboundedReceiver<Expectation>,
) {
    let mut expected: Option<Expectation> = None;
    loop {
        let next = match &expected {
            Some(_) => expectations.try_recv().ok(),
            None => timeout(IDLE_PAUSE, expectations.recv()).await.ok().flatten(),
        };
        expected = next.or(expected);
        match outside.dial(&front, &[b"http/1.1"]).await {
            Ok(mut dialled) => {
                if let Some(Expectation { served, .. }) =
                    expected.take_if(|expected| expected.leaf == dialled.leaf)
                {
                    let _ = served.send(dialled.at);
                }
                let _ = dialled.stream.shutdown().await;
            }
            Err(error) => tally.failed(format!("prober at {}: {error}", front.address)),
        }
        yield_now().await;
    }
}
