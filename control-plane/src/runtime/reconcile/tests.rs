#![allow(clippy::unwrap_used)]
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;
use crate::api::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use crate::proof::PROBER;
use crate::store::Editor as _;
use crate::store::directory::DirectoryStore;

/// The gauges that follow from what the leader observes.
const OBSERVED: [&str; 5] = [
    "certificates{",
    "certificate_earliest_not_after_timestamp_seconds{",
    "root_not_after_timestamp_seconds{",
    "rollover_phase{",
    "rollover_waiting{",
];

fn exported(registry: &Registry) -> Vec<&'static str> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let is_there = |name: &str| text.lines().any(|line| line.starts_with(name));
    OBSERVED.into_iter().filter(|name| is_there(name)).collect()
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_does_not_lead_exports_no_gauges_of_what_it_saw_last() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(directory.path()).unwrap());
    let spec =
        CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..CertificateAuthoritySpec::default() };
    store.create_authority("root-prod-shop", &spec).await.unwrap();
    let spec =
        ServiceCertificateSpec { authority: "root-prod-shop".into(), ..ServiceCertificateSpec::default() };
    store.create_certificate(&"shop/mtls-prod-payments".parse().unwrap(), &spec).await.unwrap();
    let (metrics, mut registry) = (ReconcileMetrics::default(), Registry::default());
    metrics.register(&mut registry);
    let (lead, leading) = watch::channel(true);
    let reconciler = Reconciler::new(store, Prober::new(PROBER), true, metrics);
    let running = tokio::spawn(reconciler.run(leading));

    until(|| exported(&registry).len() == OBSERVED.len()).await;
    lead.send_replace(false);
    until(|| exported(&registry).is_empty()).await;
    lead.send_replace(true);
    until(|| exported(&registry).len() == OBSERVED.len()).await;
    drop(lead);
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    assert!(exported(&registry).is_empty());
}
