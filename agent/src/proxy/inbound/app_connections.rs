//! Connections to the app: how many may be open at once, and the share of them that one peer may have, so that
//! requests of one peer that the app never answers leave connections for those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connection::tracker::PeerId;

/// The kernel has no more ports for connections to one address (`ip_local_port_range`): a peer that had all of them would
/// leave none for the others, however many descriptors there are.
const LOCAL_PORTS: usize = 28_232;
/// Shares are looked through for those of peers that have gone when there are so many, and whenever they have doubled.
const MIN_PURGE: usize = 64;

/// All connections to the app, of every route.
pub struct AppConnections {
    limit: usize,
    /// Some of them carry requests.
    for_requests: bool,
    all: Arc<Semaphore>,
    shares: Mutex<Shares>,
    pub refused: Family<RefusedLabels, Counter>,
}

/// By identity, and by source of an identity.
struct Shares {
    by_key: HashMap<u64, Weak<Semaphore>>,
    purge_at: usize,
}

/// What one client may have of them.
pub struct AppShare {
    connections: Arc<AppConnections>,
    /// All pods of a service together: three quarters, so that other services have the rest.
    identity: Arc<Semaphore>,
    /// One pod: half, so that the others of its service have some of theirs.
    source: Arc<Semaphore>,
}

/// Held as long as a connection to the app is open.
pub struct AppPermit {
    _all: OwnedSemaphorePermit,
    _share: Option<[OwnedSemaphorePermit; 2]>,
}

/// Why there is no connection to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAppConnection {
    #[error("this client has its share of them")]
    Share,
    #[error("there are as many as --max-connections allows")]
    Limit,
}

/// What got no connection to the app, by reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    pub reason: &'static str,
}

impl NoAppConnection {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Limit => "limit",
        }
    }
}

impl AppConnections {
    /// `for_requests`: a route carries requests, of which a client may have many on one connection. Where all carry
    /// bytes, the places of the clients' connections are shared, and each has one to the app.
    pub fn new(max_connections: usize, for_requests: bool) -> Self {
        let limit = if for_requests { max_connections.min(LOCAL_PORTS) } else { max_connections };
        let shares = Shares { by_key: HashMap::new(), purge_at: MIN_PURGE };
        Self {
            limit,
            for_requests,
            all: Arc::new(Semaphore::new(limit)),
            shares: Mutex::new(shares),
            refused: Family::default(),
        }
    }

    pub fn open(&self) -> usize {
        self.limit - self.all.available_permits().min(self.limit)
    }

    /// What a client may have.
    pub fn share(self: &Arc<Self>, peer: PeerId) -> AppShare {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        AppShare {
            identity: shares.of(peer.identity, self.limit - self.limit / 4),
            source: shares.of(peer.source, self.limit.div_ceil(2)),
            connections: Arc::clone(self),
        }
    }

    /// Waits for a connection to be free for one of a client that carries bytes.
    pub async fn acquire_for_bytes(
        self: &Arc<Self>,
        peer: PeerId,
        within: Duration,
    ) -> Result<AppPermit, NoAppConnection> {
        if self.for_requests {
            return self.share(peer).acquire(within).await;
        }
        match timeout(within, Arc::clone(&self.all).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(AppPermit { _all: permit, _share: None }),
            _ => Err(self.refuse(NoAppConnection::Limit)),
        }
    }

    fn refuse(&self, reason: NoAppConnection) -> NoAppConnection {
        self.refused.get_or_create(&RefusedLabels { reason: reason.as_str() }).inc();
        reason
    }
}

impl Shares {
    fn of(&mut self, key: u64, size: usize) -> Arc<Semaphore> {
        if let Some(known) = self.by_key.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.by_key.len() >= self.purge_at {
            self.by_key.retain(|_, share| share.strong_count() > 0);
            self.purge_at = (2 * self.by_key.len()).max(MIN_PURGE);
        }
        let share = Arc::new(Semaphore::new(size));
        self.by_key.insert(key, Arc::downgrade(&share));
        share
    }
}

impl AppShare {
    /// Waits for a connection to be free. What waits for its own share does not stand before others in the queue for
    /// all.
    pub async fn acquire(&self, within: Duration) -> Result<AppPermit, NoAppConnection> {
        let queues = [&self.source, &self.identity, &self.connections.all];
        let acquire = async {
            let [source, identity, all] = queues.map(|queue| Arc::clone(queue).acquire_owned());
            let share = [source.await?, identity.await?];
            Ok::<_, AcquireError>(AppPermit { _all: all.await?, _share: Some(share) })
        };
        if let Ok(Ok(permit)) = timeout(within, acquire).await {
            return Ok(permit);
        }
        let has_share = [&self.source, &self.identity].iter().any(|share| share.available_permits() == 0);
        Err(self.connections.refuse(if has_share { NoAppConnection::Share } else { NoAppConnection::Limit }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    fn peer(identity: u64, source: u64) -> PeerId {
        PeerId { identity, source }
    }

    /// Takes connections until there is none; how many, and why no more.
    async fn take_all(share: &AppShare) -> (Vec<AppPermit>, NoAppConnection) {
        let mut taken = Vec::new();
        loop {
            match share.acquire(SOON).await {
                Ok(permit) => taken.push(permit),
                Err(reason) => return (taken, reason),
            }
        }
    }

    #[tokio::test]
    async fn peer_takes_its_share_and_leaves_connections_for_the_others() {
        let connections = Arc::new(AppConnections::new(40, true));
        let mut held = Vec::new();
        // One pod, another of the same service, a third, and two other services.
        for (peer, expected, reason) in [
            (peer(1, 10), 20, NoAppConnection::Share),
            (peer(1, 11), 10, NoAppConnection::Share),
            (peer(1, 12), 0, NoAppConnection::Share),
            (peer(2, 20), 10, NoAppConnection::Limit),
            (peer(3, 30), 0, NoAppConnection::Limit),
        ] {
            let share = connections.share(peer);
            let (permits, why) = take_all(&share).await;
            assert_eq!((permits.len(), why), (expected, reason), "{peer:?}");
            held.push((share, permits));
        }
        assert_eq!(connections.open(), 40);
        let of = |reason| connections.refused.get_or_create(&RefusedLabels { reason }).get();
        assert_eq!((of("share"), of("limit")), (3, 2));
    }

    #[tokio::test]
    async fn what_waits_for_its_share_holds_up_no_other_peer() {
        let connections = Arc::new(AppConnections::new(4, true));
        let (one, other) = (connections.share(peer(1, 10)), connections.share(peer(2, 20)));
        let (mut held, _) = take_all(&one).await;
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(one.acquire(10 * SOON))).collect();
        for waits in &mut waiting {
            assert!(futures_util::poll!(waits).is_pending());
        }
        assert!(other.acquire(SOON).await.is_ok());
        held.pop();
        assert!(waiting.swap_remove(0).await.is_ok(), "the first that waited is the next");
    }

    #[test]
    fn shares_of_peers_that_have_gone_are_forgotten() {
        let connections = Arc::new(AppConnections::new(40, true));
        let kept = connections.share(peer(0, 1));
        for number in 1..10_000 {
            connections.share(peer(2 * number, 2 * number + 1));
        }
        assert!(connections.shares.lock().unwrap().by_key.len() <= 2 * MIN_PURGE);
        let same = connections.share(peer(0, 1));
        assert!(Arc::ptr_eq(&kept.source, &same.source));
    }
}
