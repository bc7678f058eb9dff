//! The control plane as `hotcert controller --dir` runs it, on a directory in the workspace. It publishes every leaf and
//! bundle that the agents should serve, and decides every step of a rollover.
//!
//! It runs round by round on the scenario's task. Nothing is written between two rounds, so what the next round will
//! publish is known in advance.

use std::path::Path;
use std::sync::Arc;

use hotcert::api::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use hotcert::pki::keyring::Keyring;
use hotcert::planner::observed::Observed;
use hotcert::proof::{PROBER, Prober};
use hotcert::runtime::metrics::ReconcileMetrics;
use hotcert::runtime::reconcile::{Reconciler, Round};
use hotcert::store::directory::DirectoryStore;
use hotcert::store::{Editor as _, ObjectRef, Store as _, StoreError};

use crate::identity::{AUTHORITY, IDENTITIES, NAMESPACE, TRUST_DOMAIN, certificate};

pub struct ControlPlane {
    store: Arc<DirectoryStore>,
    reconciler: Reconciler<DirectoryStore>,
    round: Round,
    requests: u64,
}

impl ControlPlane {
    /// Opens the directory and creates the objects in it: an authority, and a certificate for each service and the
    /// client.
    pub async fn create(directory: &Path) -> Result<Self, StoreError> {
        let store = Arc::new(DirectoryStore::open(directory)?);
        let authority = CertificateAuthoritySpec {
            namespaces: vec![NAMESPACE.to_owned()],
            trust_domain: Some(TRUST_DOMAIN.to_owned()),
            // The load keeps its connections; agents close them between requests.
            drain_deadline: Some("0s".to_owned()),
            ..CertificateAuthoritySpec::default()
        };
        store.create_authority(AUTHORITY, &authority).await?;
        for name in IDENTITIES {
            let spec = ServiceCertificateSpec {
                authority: AUTHORITY.to_owned(),
                ..ServiceCertificateSpec::default()
            };
            store.create_certificate(&certificate(name), &spec).await?;
        }
        let reconciler =
            Reconciler::new(Arc::clone(&store), Prober::new(PROBER), true, ReconcileMetrics::default());
        Ok(Self { store, reconciler, round: Round::default(), requests: 0 })
    }

    /// Stores a request as `hotcert rotate` and `hotcert rollover` do, and returns its id.
    pub async fn request(&mut self, about: &ObjectRef, verb: &str) -> Result<String, StoreError> {
        self.requests += 1;
        let id = format!("demo-{}", self.requests);
        self.store.ask(about, verb, &id).await?;
        Ok(id)
    }

    /// Runs one round and returns the state after it.
    pub async fn round(&mut self) -> Result<Observed, StoreError> {
        self.round = self.reconciler.round().await?;
        self.store.observe().await
    }

    /// Waits until the next round has something to do.
    pub async fn wait(&mut self) {
        self.reconciler.wait_for_next_round(&self.round).await;
    }

    /// The errors of the last round.
    pub fn last_errors(&self) -> String {
        if self.round.failed.is_empty() { "no step failed".to_owned() } else { self.round.failed.join("; ") }
    }

    /// The keyring with its keys, to sign broken candidates.
    pub async fn keyring(&self) -> Result<Keyring, StoreError> {
        let keyring = self.store.keyring(AUTHORITY).await?;
        keyring
            .map(|(keyring, _)| keyring)
            .ok_or_else(|| StoreError::Missing(format!("keyring of {AUTHORITY}")))
    }
}
