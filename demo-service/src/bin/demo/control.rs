//! The control plane: the same that `hotcert controller --dir` runs, over a directory in the workplace.
//! Every leaf and bundle that the agents are meant to serve comes from it, and every step of a rollover
//! is its decision.
//!
//! It goes round by round, on the task that tells the story. Between two rounds nothing is written, so
//! what the next one will publish is known before it does.

use std::path::Path;
use std::sync::Arc;

use hotcert::api::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use hotcert::pki::keyring::Keyring;
use hotcert::planner::observed::Observed;
use hotcert::probe::{PROBER, Prober};
use hotcert::runtime::reconcile::{Counts, Reconciler, Round};
use hotcert::store::directory::DirectoryStore;
use hotcert::store::{Editor as _, ObjectRef, Store as _, StoreError};

use crate::identity::{AUTHORITY, EVERYBODY, NAMESPACE, TRUST_DOMAIN, certificate};

pub struct ControlPlane {
    store: Arc<DirectoryStore>,
    reconciler: Reconciler<DirectoryStore>,
    round: Round,
    asked: u64,
}

impl ControlPlane {
    /// Takes the directory over and writes into it what a person would: an authority, and a certificate
    /// each for the services and the client outside.
    pub async fn found(directory: &Path) -> Result<Self, StoreError> {
        let store = Arc::new(DirectoryStore::open(directory)?);
        let authority = CertificateAuthoritySpec {
            namespaces: vec![NAMESPACE.to_owned()],
            trust_domain: Some(TRUST_DOMAIN.to_owned()),
            // The load never lets go of its connections; agents close them between requests.
            drain_deadline: Some("0s".to_owned()),
            ..CertificateAuthoritySpec::default()
        };
        store.create_authority(AUTHORITY, &authority).await?;
        for who in EVERYBODY {
            let spec = ServiceCertificateSpec {
                authority: AUTHORITY.to_owned(),
                ..ServiceCertificateSpec::default()
            };
            store.create_certificate(&certificate(who), &spec).await?;
        }
        let reconciler = Reconciler::new(Arc::clone(&store), Prober::new(PROBER), true, Counts::default());
        Ok(Self { store, reconciler, round: Round::default(), asked: 0 })
    }

    /// As `hotcert rotate` and `hotcert rollover` do. Returns the id of the request.
    pub async fn ask(&mut self, about: &ObjectRef, verb: &str) -> Result<String, StoreError> {
        self.asked += 1;
        let id = format!("demo-{}", self.asked);
        self.store.ask(about, verb, &id).await?;
        Ok(id)
    }

    /// One round. Returns what there is after it.
    pub async fn round(&mut self) -> Result<Observed, StoreError> {
        self.round = self.reconciler.round().await?;
        self.store.observe().await
    }

    /// Waits until another round has something to do.
    pub async fn rest(&mut self) {
        self.reconciler.until_next(&self.round).await;
    }

    /// What the last round could not do.
    pub fn trouble(&self) -> String {
        if self.round.failed.is_empty() { "nothing failed".to_owned() } else { self.round.failed.join("; ") }
    }

    /// With its keys, for an intruder who has got hold of them.
    pub async fn keyring(&self) -> Result<Keyring, StoreError> {
        let keyring = self.store.keyring(AUTHORITY).await?;
        keyring
            .map(|(keyring, _)| keyring)
            .ok_or_else(|| StoreError::Missing(format!("keyring of {AUTHORITY}")))
    }
}
