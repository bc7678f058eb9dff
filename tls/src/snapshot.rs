//! The current identity with everything derived from it. Readers never see parts of two identities; there is one writer.
//! The reload loop publishes here, each connection loads it once, and neither knows the other.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use rustls::pki_types::UnixTime;
use rustls::{ClientConfig, ServerConfig};

use crate::chain_verifier::Purpose;
use crate::config::{Configs, ExpectedPeer};
use crate::identity::Identity;
use crate::peer::Peer;
use crate::source::SourceKind;

/// One published identity with everything derived from it: what a connection loads once, and uses to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Counts publications from 1.
    pub generation: u64,
    /// The leaf and the roots.
    pub identity: Identity,
    /// When it became current.
    pub published_at: SystemTime,
    /// How it came here.
    pub delivery: Delivery,
    pub(crate) configs: Configs,
}

impl Snapshot {
    /// The configuration of a server that negotiates one of `alpn`, in this order of preference; with none, no
    /// ALPN. `None` if the identity cannot be a server, or if client certificates are required and there is no
    /// trust bundle. An [`Acceptor`](crate::Acceptor) makes it once per generation.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Option<Arc<ServerConfig>> {
        self.configs.server.as_ref().map(|base| with_alpn(base, alpn))
    }

    /// As [`Snapshot::server_config`], and client certificates are required whatever the builder was told.
    pub fn mutual_server_config(&self, alpn: &[&[u8]]) -> Option<Arc<ServerConfig>> {
        self.configs.mutual_server.as_ref().map(|base| with_alpn(base, alpn))
    }

    /// The configuration of a client that accepts `expected` and no other server. `None` if the identity cannot
    /// be a client: it lacks clientAuth, or there is no trust bundle.
    pub fn client_config(&self, expected: &ExpectedPeer, alpn: &[&[u8]]) -> Option<Arc<ClientConfig>> {
        self.configs.client(expected, alpn)
    }

    /// The configuration of a client for a program's connection to its own listener, to see what it really
    /// serves: it accepts this leaf and no other, and presents it if it can be a client. TLS 1.3 only.
    pub fn self_check_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
        crate::config::self_check(&self.identity.leaf, alpn)
    }

    /// Whether a client that was accepted before would be accepted under this trust.
    pub fn trusts_client(&self, peer: &Peer) -> bool {
        self.configs.trusts_client(&peer.chain, peer.verified_at)
    }

    /// Whether a server that was connected to before would be accepted under this trust.
    pub fn trusts_server(&self, peer: &Peer) -> bool {
        self.configs.trusts_server(&peer.chain, peer.verified_at)
    }

    /// Whether this trust may refuse a peer that `before` accepts: a root is gone, or the revocation lists are others.
    pub fn trusts_less_than(&self, before: &Self) -> bool {
        let lists = |snapshot: &Self| {
            let trust = snapshot.identity.trust.as_ref()?;
            trust.revocation.as_ref().map(|lists| lists.sha256.clone())
        };
        self.lost_a_root_of(before) || lists(self) != lists(before)
    }

    /// Whether the certificate of a peer, or an authority of its chain, is revoked by now.
    pub fn revokes(&self, peer: &Peer) -> bool {
        self.identity
            .trust
            .as_ref()
            .is_some_and(|trust| trust.verifier.revokes(&peer.chain, peer.verified_at))
    }

    /// Why peers with this trust refuse the leaf at this time, for its revocation: it is revoked, or that cannot be told,
    /// such as when the list of its authority is out of date. `None` without revocation lists.
    pub fn revocation_fault(&self, now: SystemTime) -> Option<String> {
        let (leaf, trust) = (&self.identity.leaf, self.identity.trust.as_ref()?);
        let purpose = if leaf.roles.server { Purpose::Server } else { Purpose::Client };
        let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        trust.verifier.revocation_fault(&leaf.certified.cert, purpose, at).map(|fault| fault.to_string())
    }

    /// Whether a root that `before` trusts is not trusted here.
    pub fn lost_a_root_of(&self, before: &Self) -> bool {
        match (&before.identity.trust, &self.identity.trust) {
            (Some(before), Some(after)) => after.lost_a_root_of(before),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

fn with_alpn(base: &Arc<ServerConfig>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    if alpn.is_empty() {
        return Arc::clone(base);
    }
    let mut config = ServerConfig::clone(base);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// How an identity was delivered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The source.
    pub from: SourceKind,
    /// When the source changed to this content, by this machine's clock: the swap of the volume,
    /// the arrival from the API. `None` for what was there at start.
    pub changed_at: Option<SystemTime>,
    /// When the Secret was written, by the API server's clock, where that is known.
    pub written_at: Option<SystemTime>,
}

/// A reader of the current snapshot. Each clone waits for changes by itself; one that is new has seen none, so that
/// its first [`Snapshots::changed`] returns at once if there is an identity.
#[derive(Clone, Debug)]
pub struct Snapshots {
    slot: Arc<ArcSwapOption<Snapshot>>,
    changes: watch::Receiver<u64>,
}

/// The writer's side: there is one, and it is not `Clone`.
pub(crate) struct Publisher {
    slot: Arc<ArcSwapOption<Snapshot>>,
    changes: watch::Sender<u64>,
}

pub(crate) fn channel() -> (Publisher, Snapshots) {
    let slot = Arc::new(ArcSwapOption::empty());
    let (sender, receiver) = watch::channel(0);
    (Publisher { slot: Arc::clone(&slot), changes: sender }, Snapshots { slot, changes: receiver })
}

impl Publisher {
    /// Makes `identity` current at once for every handshake that begins from now on.
    pub(crate) fn publish(
        &mut self,
        identity: Identity,
        configs: Configs,
        delivery: Delivery,
    ) -> Arc<Snapshot> {
        let generation = *self.changes.borrow() + 1;
        let published_at = SystemTime::now();
        let snapshot = Arc::new(Snapshot { generation, identity, published_at, delivery, configs });
        self.slot.store(Some(Arc::clone(&snapshot)));
        self.changes.send_replace(generation);
        snapshot
    }
}

impl Snapshots {
    /// The current snapshot. `None` until there was an identity.
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.slot.load_full()
    }

    /// Waits for a publication after the last one that this reader has seen, and loads it. `None` when the
    /// identity is no longer reloaded.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.changes.changed().await.ok()?;
        self.load()
    }

    /// Waits until there is an identity. `None` when it is no longer reloaded and there was none.
    pub async fn first(&mut self) -> Option<Arc<Snapshot>> {
        self.changes.wait_for(|generation| *generation > 0).await.ok()?;
        self.load()
    }
}

#[cfg(test)]
mod tests;
