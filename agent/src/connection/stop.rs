//! The stop signal: one side sends it once, any number of others wait for it.

use tokio::sync::watch;

/// The sending side. Dropping it stops as well.
pub struct Stopper(watch::Sender<bool>);

/// The waiting side.
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
        // An error means that the stopper was dropped, which stops as well.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}
