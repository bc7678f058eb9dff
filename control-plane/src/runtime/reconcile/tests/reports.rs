//! What a replica exports and reports, and what it takes back when it does not lead.

#![allow(clippy::unwrap_used)]
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::super::*;
use crate::api::condition::{Condition, ConditionType, Reason};
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthoritySpec, ManagerRef, ServiceCertificateSpec};
use crate::external::sync;
use crate::notify::config;
use crate::notify::dispatcher;
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

#[tokio::test]
async fn rejected_settings_are_reported_at_once_and_no_manager_is_called_unknown_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(directory.path()).unwrap());
    let spec =
        CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..CertificateAuthoritySpec::default() };
    store.create_authority("root-prod-shop", &spec).await.unwrap();
    let manager = Some(ManagerRef { name: "vault".into(), id: "1".into() });
    let name: ObjectName = "shop/mtls-prod-payments".parse().unwrap();
    let spec = ServiceCertificateSpec { manager, ..ServiceCertificateSpec::default() };
    store.create_certificate(&name, &spec).await.unwrap();

    let settings = directory.path().join("notifications.yaml");
    std::fs::write(&settings, "# settings\ntpoics: []\n").unwrap();
    let config = config::ConfigWatch::start(settings.clone(), config::Metrics::default());
    let dispatcher =
        Dispatcher::new(config.config.clone(), config.rejected.clone(), dispatcher::Metrics::default());
    let external_sync = ExternalSync::new(config.managers.clone(), sync::Metrics::default());
    let reconciler =
        Reconciler::new(Arc::clone(&store), Prober::new(PROBER), true, ReconcileMetrics::default())
            .with_external(dispatcher, external_sync);
    let (lead, leading) = watch::channel(true);
    let running = tokio::spawn(reconciler.run(leading));

    let conditions = async || {
        let observed = store.observe().await.unwrap();
        let authority = observed.authorities["root-prod-shop"].status.conditions.clone();
        (authority, observed.certificates[&name].status.conditions.clone())
    };
    let wait_for = async |wanted: fn(&[Condition], &[Condition]) -> bool| {
        let reached = async {
            loop {
                let (authority, certificate) = conditions().await;
                if wanted(&authority, &certificate) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        if reached.is_err() {
            panic!("{:#?}", conditions().await);
        }
    };
    wait_for(|authority, certificate| {
        let rejected = Condition::find(authority, ConditionType::SettingsRejected);
        let ready = Condition::find(certificate, ConditionType::Ready);
        rejected
            .is_some_and(|rejected| rejected.message.contains("notifications.yaml:2: unknown field `tpoics`"))
            && ready.is_some_and(|ready| ready.reason == Reason::WaitingForManager)
    })
    .await;
    let corrected = settings.with_extension("new");
    std::fs::write(&corrected, "topics: []\n").unwrap();
    std::fs::rename(&corrected, &settings).unwrap();
    wait_for(|authority, certificate| {
        let ready = Condition::find(certificate, ConditionType::Ready);
        Condition::find(authority, ConditionType::SettingsRejected).is_none()
            && ready.is_some_and(|ready| ready.reason == Reason::UnknownManager)
    })
    .await;
    drop(lead);
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
}
