//! Being told to stop, and passing it on: one side says when, any number of others wait for it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The side that says. Dropping it says it too.
pub struct Stopper(watch::Sender<bool>);

/// The side that waits.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    pub async fn wait(mut self) {
        // An error is the stopper's being gone, which stops as well.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// SIGTERM and SIGINT alike.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
