//! The connections that one proof takes: one under each root in question, and all of them must show the
//! same leaf.

use std::net::SocketAddr;
use std::time::SystemTime;

use tokio::time::Instant;

use super::handshake::{self, Probe, ProbeError, ProofReport, TIMEOUT};
use crate::pki::keyring::{Keyring, RootId};
use crate::planner::observed::{HandshakeResult, Proof};
use crate::proof::client_certificate::{Client, ClientError, Clients};

/// How many roots of a pod's report are looked at.
const MAX_REPORTED_ROOTS: usize = 64;

/// The SPIFFE ID that pods see.
pub const PROBER: &str = "spiffe://hotcert/control-plane";

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("the authority has no such root any more: {}", list(.0))]
    NoSuchRoot(Vec<RootId>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("the agent's certificate changed during the probe; it is probed again")]
    Changed,
}

/// Probes pods. Its own certificates are kept in memory alone.
#[derive(Debug)]
pub struct Prober {
    pub(super) clients: Clients,
}

/// The clients to probe one pod with.
pub(super) struct ProofAttempt {
    pub(super) clients: Vec<(RootId, Client)>,
    /// Roots that have expired, under which there can be no client.
    pub(super) expired: Vec<RootId>,
}

impl Prober {
    /// `spiffe_id` is the identity that pods see, such as [`PROBER`].
    pub fn new(spiffe_id: impl Into<String>) -> Self {
        Self { clients: Clients::new(spiffe_id.into()) }
    }

    /// Probes the proof listener at `address` as a client under each of these roots that the keyring still
    /// has. The proof is dated `now`, before the first handshake, so that it never seems newer than what it
    /// saw. The future does not hold the keyring.
    pub fn prove(
        &self,
        keyring: &Keyring,
        address: SocketAddr,
        roots: &[RootId],
        now: SystemTime,
    ) -> impl Future<Output = Proof> + Send + use<> {
        let attempt = self.attempt(keyring, roots, now);
        async move {
            let result = match attempt {
                Ok(attempt) => attempt.run(address).await,
                Err(error) => Err(error),
            };
            Proof { taken_at: now, leaf_since: now, result: result.map_err(|error| error.to_string()) }
        }
    }

    /// Reads the leaf at `address`, as a client without a certificate.
    pub fn read_leaf(
        &self,
        address: SocketAddr,
        now: SystemTime,
    ) -> impl Future<Output = Proof> + Send + use<> {
        async move {
            let leaf = handshake::read_leaf(address, Instant::now() + TIMEOUT).await;
            let result =
                leaf.map(|leaf_sha256| HandshakeResult { leaf_sha256, ..HandshakeResult::default() });
            Proof { taken_at: now, leaf_since: now, result: result.map_err(|error| error.to_string()) }
        }
    }

    pub(super) fn attempt(
        &self,
        keyring: &Keyring,
        roots: &[RootId],
        now: SystemTime,
    ) -> Result<ProofAttempt, ProofError> {
        let mut attempt = ProofAttempt { clients: Vec::new(), expired: Vec::new() };
        for root in roots {
            match keyring.roots.get(root) {
                Some(authority) if authority.not_after() <= now => attempt.expired.push(root.clone()),
                Some(authority) => {
                    let client = self.clients.under(root, authority, keyring, now)?;
                    attempt.clients.push((root.clone(), client));
                }
                None => {}
            }
        }
        if attempt.clients.is_empty() {
            return Err(ProofError::NoSuchRoot(roots.to_vec()));
        }
        Ok(attempt)
    }
}

impl ProofAttempt {
    async fn run(self, address: SocketAddr) -> Result<HandshakeResult, ProofError> {
        let deadline = Instant::now() + TIMEOUT;
        let mut result: Option<HandshakeResult> = None;
        for (root, client) in self.clients {
            let Probe { leaf_sha256, leaf_not_before, foreign, report } =
                handshake::probe(address, client, deadline).await?;
            let result = result.get_or_insert_with(|| HandshakeResult {
                leaf_sha256: leaf_sha256.clone(),
                leaf_not_before,
                foreign,
                ..HandshakeResult::default()
            });
            let agrees = |report: &ProofReport| report.leaf_sha256 == leaf_sha256;
            if result.leaf_sha256 != leaf_sha256 || !report.as_ref().is_none_or(agrees) {
                return Err(ProofError::Changed);
            }
            result.accepts.insert(root, report.is_some());
            if let Some(ProofReport { connections_under, .. }) = report {
                let counts = connections_under.into_iter();
                let counts = counts.filter_map(|(root, count)| Some((RootId::parse(&root)?, count)));
                result.connections_under = counts.take(MAX_REPORTED_ROOTS).collect();
            }
        }
        let mut result = result.unwrap_or_default();
        // No leaf outlives its root, so no client under it would be accepted.
        result.accepts.extend(self.expired.into_iter().map(|root| (root, false)));
        Ok(result)
    }
}

fn list(roots: &[RootId]) -> String {
    roots.iter().map(RootId::to_string).collect::<Vec<_>>().join(", ")
}
