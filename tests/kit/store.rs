//! What every store must do, whatever it is made of: each function is a promise of `hotcert::store`, with
//! objects of its own, so that they can run against one store at the same time. What others do behind a
//! store's back is done by a [`Hand`].

mod by_hand;
mod keyrings;
mod objects;
mod secrets;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use by_hand::ByHand;
use hotcert::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ImportSource, ServiceCertificateSpec,
};
use hotcert::pki::authority::{Authority, Leaf};
use hotcert::pki::keyring::{Keyring, RootId, State};
use hotcert::pki::x509_facts;
use hotcert::pki::x509_facts::Fingerprint;
use hotcert::planner::observed::{
    self, Certificate, KeyringState, KeyringView, Observed, Publication, Published, Request, ResourceVersion,
};
use hotcert::store::{Contents, Editor, LeafPem, ObjectRef, Store, StoreError, StoredVersion};
pub use keyrings::*;
pub use objects::*;
pub use secrets::*;
pub use versions::*;
use zeroize::Zeroizing;

use crate::DEADLINE;
use crate::pki;

/// Hands the names of all promises to another macro.
#[macro_export]
macro_rules! every_promise_of_a_store {
    ($each:ident) => {
        $each! {
            keyring_comes_back_and_signs_the_same
            keyring_over_an_old_version_conflicts
            keyring_is_created_once
            keyring_version_is_that_of_the_last_writing
            keyring_forgets_roots_that_are_not_needed
            keyring_with_too_many_roots_is_refused
            version_is_kept_once_and_comes_back
            version_without_its_key_keeps_what_is_recorded_of_it
            version_is_pruned_again_and_again
            version_of_the_same_number_is_not_pruned_in_place_of_another
            publication_is_seen_as_it_was_written
            published_version_is_recognised
            publication_over_an_old_version_conflicts
            bundle_is_published_beside_the_leaf_that_is_there
            deleted_secret_is_seen_and_written_again
            edited_secret_is_seen_and_written_again
            secret_of_somebody_else_is_not_touched
            secret_of_another_certificate_is_not_touched
            secret_name_that_leads_elsewhere_is_refused
            statuses_come_back
            status_over_an_old_version_conflicts
            hint_over_an_old_version_conflicts
            everything_is_seen_at_once_after_a_relist
            requests_appear_until_they_are_replaced
            objects_are_created_once
            deleted_objects_are_gone_with_their_requests
            root_to_import_is_seen
            nothing_that_is_shown_has_a_key
        }
    };
}

/// It must be there before.
pub const NAMESPACE: &str = "shop";

/// What people do: to the objects, and to Secrets past the store.
pub trait Hand: Editor {
    fn delete_secret(&self, secret: &ObjectName) -> impl Future<Output = ()>;

    /// Puts other contents into one of its files.
    fn edit_secret(&self, secret: &ObjectName, file: &str, contents: &str) -> impl Future<Output = ()>;

    /// A Secret with these files and without an owner.
    fn create_secret(&self, secret: &ObjectName, files: &[(&str, &str)]) -> impl Future<Output = ()>;

    fn read_secret(&self, secret: &ObjectName, file: &str) -> impl Future<Output = String>;

    /// A root to import.
    fn put_import(&self, name: &str, certificate: &str, key: &str) -> impl Future<Output = ()>;
}

/// Creates it, and waits until the store has heard of it.
async fn authority(store: &impl Store, hand: &impl Hand, about: &str) -> String {
    let name = format!("root-prod-{about}");
    hand.create_authority(&name, &authority_spec()).await.unwrap();
    seen_authority(store, &name, |_| true).await;
    name
}

/// Creates it, and waits until the store has heard of it.
async fn certificate(store: &impl Store, hand: &impl Hand, about: &str) -> ObjectName {
    let name = ObjectName::new(NAMESPACE, format!("mtls-prod-{about}"));
    hand.create_certificate(&name, &spec()).await.unwrap();
    seen_certificate(store, &name, |_| true).await;
    name
}

fn authority_spec() -> CertificateAuthoritySpec {
    CertificateAuthoritySpec {
        namespaces: vec![NAMESPACE.into()],
        lifetime: Some("3650d".into()),
        ..Default::default()
    }
}

fn spec() -> ServiceCertificateSpec {
    ServiceCertificateSpec { authority: "root-prod-main".into(), history: Some(3), ..Default::default() }
}

/// The one that is meant if the spec does not say.
fn secret(certificate: &ObjectName) -> ObjectName {
    let microservice = certificate.name.strip_prefix("mtls-prod-").unwrap();
    ObjectName::new(&certificate.namespace, format!("{microservice}-tls"))
}

fn leaf() -> (Authority, Leaf) {
    let root = pki::authority("root");
    let leaf = root.issue(&pki::request("payments"), SystemTime::now()).unwrap();
    (root, leaf)
}

/// A store keeps milliseconds.
fn moment() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn kept(root: &Authority, leaf: &Leaf) -> StoredVersion {
    StoredVersion {
        certificate: leaf.certificate_pem.clone(),
        key: leaf.key_pem.clone(),
        root: RootId::of(root),
        bundle: None,
        made_for: "0123456789abcdef".into(),
        created_at: moment(),
        request: None,
        copy_of: None,
    }
}

fn contents(root: &Authority, leaf: &Leaf, revision: u64) -> Contents {
    let other = pki::authority("another root");
    Contents {
        leaf: Some(LeafPem {
            certificate: leaf.certificate_pem.clone(),
            key: Zeroizing::new(leaf.key_pem.to_string()),
        }),
        bundle: format!("{}{}", root.certificate_pem(), other.certificate_pem()),
        revision,
        version: 1,
        written_at: moment(),
    }
}

#[track_caller]
fn conflicts(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
}

#[track_caller]
fn malformed(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Malformed { .. })), "{result:?}");
}

#[track_caller]
fn missing<T: Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Missing(_))), "{result:?}");
}

/// A store may show a change a little later than it was made.
async fn seen<S: Store, T>(store: &S, what: &str, ask: impl Fn(&Observed) -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        let observed = store.observe().await.unwrap();
        if let Some(answer) = ask(&observed) {
            return answer;
        }
        assert!(Instant::now() < end, "{what} is not seen as expected within {DEADLINE:?}: {observed:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn seen_authority<S: Store>(
    store: &S,
    name: &str,
    fits: impl Fn(&observed::Authority) -> bool,
) -> Arc<observed::Authority> {
    seen(store, name, |seen| seen.authorities.get(name).filter(|authority| fits(authority)).cloned()).await
}

async fn seen_ring<S: Store>(store: &S, name: &str, fits: impl Fn(&KeyringView) -> bool) -> KeyringView {
    let ring = |seen: &Observed| match &seen.authorities.get(name)?.keyring {
        KeyringState::Present(ring) if fits(ring) => Some(ring.clone()),
        _ => None,
    };
    seen(store, name, ring).await
}

async fn seen_certificate<S: Store>(
    store: &S,
    name: &ObjectName,
    fits: impl Fn(&Certificate) -> bool,
) -> Arc<Certificate> {
    let of = |seen: &Observed| seen.certificates.get(name).filter(|certificate| fits(certificate)).cloned();
    seen(store, &name.to_string(), of).await
}

async fn seen_publication<S: Store>(
    store: &S,
    name: &ObjectName,
    fits: impl Fn(&Publication) -> bool,
) -> Publication {
    let of = |seen: &Observed| match &seen.certificates.get(name)?.published {
        Published::Ours(publication) if fits(publication) => Some(publication.clone()),
        _ => None,
    };
    seen(store, &name.to_string(), of).await
}
