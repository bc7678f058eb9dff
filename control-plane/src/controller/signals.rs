//! Signals of the process: those to stop, of which a second one, while the controller drains, ends it at once; and
//! SIGHUP, on which certificates are read again.

use hotcert_tls::Identities;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

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

/// Reads the sources of these identities again on each SIGHUP. They are kept current by this alone, too.
pub async fn reload_on_hangup(identities: Identities) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            warn!(%error, "cannot wait for SIGHUP: certificates are read again by events and polls only");
            return;
        }
    };
    while hangup.recv().await.is_some() {
        info!("reading again on SIGHUP");
        identities.reload();
    }
}
