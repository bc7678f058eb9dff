//! What the results of tasks lead to.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::leaf_request::Usage;
use crate::api::resource::ManagerRef;
use crate::external::config::{ConfigFiles, Validator, managers};
use crate::pki::x509_facts::Fingerprint;
use crate::planner::observed::FetchTrigger;

const SETTINGS: &str = r#"[{"name": "vault", "kind": "https", "get": "https://vault.example/{id}",
    "pointers": {"certificate": "/c", "key": "/k"}, "allow": {"shop": ["*"]}}]"#;

fn sync() -> ExternalSync {
    let folder = tempfile::tempdir().unwrap();
    let mut files = ConfigFiles::new(folder.path().join("settings.yaml"));
    let mut validator = Validator::new(&mut files);
    let configured = managers(&mut validator, &serde_json::from_str::<Vec<_>>(SETTINGS).unwrap());
    let configured = validator.finish(configured).unwrap();
    let mut sync = ExternalSync::new(watch::channel(Arc::new(configured)).1, Metrics::default());
    sync.observe();
    sync
}

fn name() -> ObjectName {
    ObjectName { namespace: "shop".into(), name: "orders".into() }
}

fn fetch(trigger: FetchTrigger) -> Arc<SyncTask> {
    let with = ManagerRef { name: "vault".into(), id: "orders".into() };
    let action = SyncAction::Fetch { trigger, usage: Usage::default() };
    Arc::new(SyncTask { certificate: name(), with, action })
}

impl ExternalSync {
    fn end(&mut self, task: &Arc<SyncTask>, result: Result<Completed, SyncError>) {
        let manager = Arc::clone(&self.managers["vault"]);
        self.record(Done { key: task.key(), task: Arc::clone(task), manager, result });
    }
}

fn metadata(serial: &str) -> Metadata {
    serde_json::from_value(serde_json::json!({
        "id": "3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", "serial_number": serial, "updated_at": "2026-10-05T21:33:11Z",
    }))
    .unwrap()
}

fn version(fingerprint: Fingerprint) -> FetchedVersion {
    let version = crate::store::StoredVersion {
        certificate: String::new(),
        key: zeroize::Zeroizing::default(),
        root: crate::pki::keyring::RootId("root".into()),
        bundle: None,
        made_for: String::new(),
        created_at: SystemTime::now(),
        request: None,
        copy_of: None,
    };
    FetchedVersion { fingerprint, roots: BTreeSet::new(), version }
}

#[test]
fn a_version_that_is_unchanged_is_fetched_for_the_next_hour_too() {
    let mut sync = sync();
    let first = fetch(FetchTrigger::Hour(1));
    assert_eq!(sync.seen(&first), None);
    let fingerprint = Fingerprint::of(b"certificate", b"key");
    sync.end(&first, Ok(Completed::Fetched(version(fingerprint).into(), Some(metadata("01")))));
    let next = fetch(FetchTrigger::Hour(2));
    assert_eq!(sync.seen(&next), Some(metadata("01")));
    sync.end(&next, Ok(Completed::Unchanged));
    let fetched = &sync.observe().fetched[&name()];
    assert_eq!((&fetched.trigger, fetched.fingerprint), (&FetchTrigger::Hour(2), fingerprint));

    // Of another secret nothing was seen.
    let mut other = SyncTask::clone(&next);
    other.with.id = "payments".into();
    assert_eq!(sync.seen(&other), None);
    // A manager that no longer says anything of a version is asked for it.
    sync.end(&next, Ok(Completed::Fetched(version(fingerprint).into(), None)));
    assert_eq!(sync.seen(&next), None);
}

#[test]
fn what_another_leader_may_have_fetched_since_is_not_taken_for_seen() {
    let mut sync = sync();
    let task = fetch(FetchTrigger::Hour(1));
    let fingerprint = Fingerprint::of(b"certificate", b"key");
    sync.end(&task, Ok(Completed::Fetched(version(fingerprint).into(), Some(metadata("01")))));
    sync.forget();
    assert_eq!(sync.seen(&task), None);
}
