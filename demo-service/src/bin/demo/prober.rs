//! Dials one agent repeatedly and reports when a leaf was first served.
//!
//! While a leaf is expected it dials without a pause between handshakes, otherwise at an interval, so that a broken leaf
//! that is served only for a moment is recorded too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;

use crate::client::{Client, ServiceAddress};
use crate::leaf_tracker::Fingerprint;
use crate::load_stats::LoadStats;

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
    pub fn start(service_address: ServiceAddress, client: Arc<Client>, load_stats: Arc<LoadStats>) -> Self {
        let (expectations, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(probe(service_address, client, load_stats, receiver)).abort_handle();
        Self { expectations, task }
    }

    /// Receives when the first handshake that showed this leaf completed. To be called before it is published.
    pub fn expect(&self, leaf: Fingerprint) -> oneshot::Receiver<Instant> {
        let (served, receiver) = oneshot::channel();
        // If the task has ended, the sender is dropped and the receiver returns an error.
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
    service_address: ServiceAddress,
    client: Arc<Client>,
    load_stats: Arc<LoadStats>,
    mut expectations: mpsc::UnboundedReceiver<Expectation>,
) {
    let mut expected: Option<Expectation> = None;
    loop {
        let next = match &expected {
            Some(_) => expectations.try_recv().ok(),
            None => timeout(IDLE_PAUSE, expectations.recv()).await.ok().flatten(),
        };
        expected = next.or(expected);
        match client.dial(&service_address, &[b"http/1.1"]).await {
            Ok(mut handshake) => {
                if let Some(Expectation { served, .. }) =
                    expected.take_if(|expected| expected.leaf == handshake.leaf)
                {
                    let _ = served.send(handshake.at);
                }
                let _ = handshake.stream.shutdown().await;
            }
            Err(error) => load_stats.failed(format!("prober at {}: {error}", service_address.address)),
        }
        yield_now().await;
    }
}
