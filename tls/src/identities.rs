//! The handle on an identity that is kept current.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::acceptor::Acceptor;
use crate::config::ExpectedPeer;
use crate::connector::Connector;
use crate::event::Events;
use crate::peer::Peer;
use crate::reload_error::ReloadError;
use crate::shared::Shared;
use crate::snapshot::{Snapshot, Snapshots};
use crate::status::Status;

/// An identity that is kept current for as long as there is a handle on it, an acceptor, a connector or a stream. Cheap
/// to clone.
#[derive(Clone)]
pub struct Identities {
    shared: Arc<Shared>,
}

impl Identities {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// An acceptor for servers that negotiates one of `protocols`, in this order of preference, such as
    /// `["h2", "http/1.1"]`; with none, no ALPN.
    pub fn acceptor<P: AsRef<[u8]>>(&self, protocols: impl IntoIterator<Item = P>) -> Acceptor {
        let alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        Acceptor::new(Arc::clone(&self.shared), alpn)
    }

    /// A connector for clients that accepts `expected` and no other server.
    pub fn connector(&self, expected: ExpectedPeer) -> Connector {
        Connector::new(Arc::clone(&self.shared), expected)
    }

    /// The identity that is current. `None` until there was one.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.shared.snapshots.load()
    }

    /// A reader that can wait for changes. It does not keep the identity current by itself.
    pub fn snapshots(&self) -> Snapshots {
        self.shared.snapshots.clone()
    }

    /// Events from now on. The first publication may have come before; it is in [`Identities::current`].
    pub fn subscribe(&self) -> Events {
        Events::of(&self.shared.reporter.events)
    }

    /// The state of the sources and of what was rejected.
    pub fn status(&self) -> Status {
        self.shared.reporter.status()
    }

    /// Reads the sources again now, where no event tells of a change; for SIGHUP, for example. Does nothing for a
    /// [`ManualSource`](crate::ManualSource).
    pub fn reload(&self) {
        self.shared.requested.notify_one();
    }

    /// Completes if the identity can no longer be kept current, because of a bug or because the runtime on which it
    /// was started has shut down. What is current stays usable; a program should end and be started again. The
    /// future does not keep the identity current by itself.
    pub fn ended(&self) -> impl Future<Output = ReloadError> + Send + 'static + use<> {
        let mut ended = self.shared.ended.clone();
        async move {
            match ended.wait_for(Option::is_some).await {
                Ok(error) => error.clone().unwrap_or(ReloadError::Stopped),
                Err(_) => ReloadError::Stopped,
            }
        }
    }

    /// The peer that presented `chain`, leaf first, for those who bring their own handshake: all connections of a
    /// peer share one value. The chain must have been verified. `None` if it is empty or cannot be parsed.
    pub fn intern(&self, chain: &[CertificateDer<'_>]) -> Option<Arc<Peer>> {
        self.shared.peers.intern(chain)
    }

    /// The earliest end of validity among the certificates that peers presented in the last ten minutes or still
    /// use. Of several certificates for one name the one seen last counts.
    pub fn earliest_peer_expiry(&self) -> Option<SystemTime> {
        self.shared.peers.earliest_not_after()
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generation = self.current().map(|snapshot| snapshot.generation);
        f.debug_struct("Identities").field("generation", &generation).finish_non_exhaustive()
    }
}
