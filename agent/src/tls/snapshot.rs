//! The current identity with everything derived from it. Readers see all of it or none; there is one writer.
//! The reload loop publishes here, each connection loads it once, and neither knows the other.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::tls::config::Configs;
use crate::tls::identity::Identity;
use crate::tls::source::SourceKind;

/// An identity with everything derived from it.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications from 1.
    pub generation: u64,
    pub identity: Identity,
    pub configs: Configs,
    pub published_at: SystemTime,
    pub delivery: Delivery,
}

/// How an identity was delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub from: SourceKind,
    /// When the source changed to this content, by this machine's clock: the swap of the volume,
    /// the arrival from the API. `None` for what was there at start.
    pub changed_at: Option<SystemTime>,
    /// When the Secret was written, by the API server's clock, where that is known.
    pub written_at: Option<SystemTime>,
}

/// The reader's side, cheap to clone. `None` until the first identity.
#[derive(Clone)]
pub struct Current {
    slot: Arc<ArcSwapOption<Snapshot>>,
    changes: watch::Receiver<u64>,
}

/// The writer's side: there is one, and it is not `Clone`.
pub struct Publisher {
    slot: Arc<ArcSwapOption<Snapshot>>,
    changes: watch::Sender<u64>,
}

pub fn channel() -> (Publisher, Current) {
    let slot = Arc::new(ArcSwapOption::empty());
    let (sender, receiver) = watch::channel(0);
    (Publisher { slot: Arc::clone(&slot), changes: sender }, Current { slot, changes: receiver })
}

impl Publisher {
    /// Makes `identity` current at once for every handshake that begins from now on.
    pub fn publish(&mut self, identity: Identity, configs: Configs, delivery: Delivery) -> Arc<Snapshot> {
        let generation = *self.changes.borrow() + 1;
        let published_at = SystemTime::now();
        let snapshot = Arc::new(Snapshot { generation, identity, configs, published_at, delivery });
        self.slot.store(Some(Arc::clone(&snapshot)));
        self.changes.send_replace(generation);
        snapshot
    }
}

impl Current {
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.slot.load_full()
    }

    /// Waits for a publication after the last one this reader has seen and loads it. `None` when
    /// the writer is gone.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.changes.changed().await.ok()?;
        self.load()
    }

    /// Waits until there is an identity. `None` when the writer is gone without one.
    pub async fn first(&mut self) -> Option<Arc<Snapshot>> {
        self.changes.wait_for(|generation| *generation > 0).await.ok()?;
        self.load()
    }
}

#[cfg(test)]
mod tests;
