//! Stop tokens: one side says when, any number of others wait for it.

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
