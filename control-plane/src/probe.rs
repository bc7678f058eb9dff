//! Proof by handshake: what a pod serves and whom it lets in, seen from outside. The control plane is a
//! client of the pod's proof listener, once under each root that is asked about.
//!
//! | module | what it is |
//! |---|---|
//! | [`client`] | the control plane's own certificate under a root |
//! | [`visit`] | one connection to a pod, and what came of it |
//! | [`book`] | what was proved so far, and when to ask again |
//!
//! An answer is what was seen and nothing else. "Let in" is an answer over HTTP, "not let in" is the
//! pod's own word that it does not trust the certificate, said after it has proved who it is. Whatever
//! else happens is an error, which proves nothing.

mod client;
mod handshake;
mod schedule;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use client::{Client, Clients};
pub use handshake::ProbeError;
use handshake::{Probe, ProofReport};
pub use schedule::{AT_ONCE, ProofSchedule};

use crate::pki::authority::AuthorityError;
use crate::pki::keyring::{Keyring, RootId};
use crate::planner::observed::{HandshakeResult, Proof};

/// Who pods see, when the control plane asks.
pub const PROBER: &str = "spiffe://hotcert/control-plane";

/// For everything that one proof takes.
pub const WITHIN: Duration = Duration::from_secs(5);

/// IssueReason a proof could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("the authority has no such root any more: {}", list(.0))]
    NoSuchRoot(Vec<RootId>),
    #[error("no client certificate can be made under the root {root}: {source}")]
    Unsigned { root: RootId, source: AuthorityError },
    #[error("the client certificate under the root {root} is of no use: {cause}")]
    Unusable { root: RootId, cause: String },
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("it changed its leaf while it was asked; it will be asked again")]
    Changed,
}

/// Shakes hands with pods. Keeps its own certificates, in memory alone.
#[derive(Debug)]
pub struct Prober {
    clients: Clients,
}

/// What is to be tried with one pod.
struct Trial {
    clients: Vec<(RootId, Client)>,
    /// Roots that have expired. Nothing under them can be tried.
    expired: Vec<RootId>,
    known: Vec<RootId>,
}

impl Prober {
    /// `spiffe_id` is who the pods see, such as `spiffe://hotcert/control-plane`.
    pub fn new(spiffe_id: impl Into<String>) -> Self {
        Self { clients: Clients::new(spiffe_id.into()) }
    }

    /// Asks the proof listener at `address` as a client under each of these roots that the keyring still
    /// has. The proof is dated `now`, before the first handshake, so that it never seems younger than
    /// what it saw. The future holds no part of the keyring.
    pub fn prove(
        &self,
        keyring: &Keyring,
        address: SocketAddr,
        roots: &[RootId],
        now: SystemTime,
    ) -> impl Future<Output = Proof> + Send + use<> {
        let trial = self.trial(keyring, roots, now);
        async move {
            let shown = match trial {
                Ok(trial) => trial.run(address).await,
                Err(error) => Err(error),
            };
            Proof { taken_at: now, leaf_since: now, result: shown.map_err(|error| error.to_string()) }
        }
    }

    /// Which leaf is shown at `address`, to somebody who is not let in.
    pub fn glance(&self, address: SocketAddr, now: SystemTime) -> impl Future<Output = Proof> + Send + use<> {
        async move {
            let shown = handshake::glance(address, Instant::now() + WITHIN).await;
            let shown =
                shown.map(|leaf_sha256| HandshakeResult { leaf_sha256, ..HandshakeResult::default() });
            Proof { taken_at: now, leaf_since: now, result: shown.map_err(|error| error.to_string()) }
        }
    }

    fn trial(&self, keyring: &Keyring, roots: &[RootId], now: SystemTime) -> Result<Trial, ProveError> {
        let known = keyring.roots.keys().cloned().collect();
        let mut trial = Trial { clients: Vec::new(), expired: Vec::new(), known };
        for root in roots {
            match keyring.roots.get(root) {
                Some(authority) if authority.not_after() <= now => trial.expired.push(root.clone()),
                Some(authority) => {
                    let client = self.clients.under(root, authority, keyring, now)?;
                    trial.clients.push((root.clone(), client));
                }
                None => {}
            }
        }
        if trial.clients.is_empty() {
            return Err(ProveError::NoSuchRoot(roots.to_vec()));
        }
        Ok(trial)
    }
}

impl Trial {
    async fn run(self, address: SocketAddr) -> Result<HandshakeResult, ProveError> {
        let deadline = Instant::now() + WITHIN;
        let mut shown: Option<HandshakeResult> = None;
        for (root, client) in self.clients {
            let Probe { leaf_sha256, said } = handshake::visit(address, client, deadline).await?;
            let shown = shown.get_or_insert_with(|| HandshakeResult {
                leaf_sha256: leaf_sha256.clone(),
                ..HandshakeResult::default()
            });
            let agrees = |said: &ProofReport| said.leaf_sha256 == leaf_sha256;
            if shown.leaf_sha256 != leaf_sha256 || !said.as_ref().is_none_or(agrees) {
                return Err(ProveError::Changed);
            }
            shown.accepts.insert(root, said.is_some());
            if let Some(ProofReport { connections_under, .. }) = said {
                let counts = connections_under.into_iter().map(|(root, count)| (RootId(root), count));
                shown.connections_under = counts.filter(|(root, _)| self.known.contains(root)).collect();
            }
        }
        let mut shown = shown.unwrap_or_default();
        // No leaf outlives its root, so there is none left that anybody would let in.
        shown.accepts.extend(self.expired.into_iter().map(|root| (root, false)));
        Ok(shown)
    }
}

fn list(roots: &[RootId]) -> String {
    roots.iter().map(RootId::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
