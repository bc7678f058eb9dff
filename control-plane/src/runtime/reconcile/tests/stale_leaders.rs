//! Two replicas on one store, of which one sees keyrings as they were: it signs and publishes nothing.

#![allow(clippy::unwrap_used)]

mod stale_store;

use std::sync::atomic::Ordering;

use tempfile::TempDir;

use self::stale_store::StaleStore;
use super::super::*;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use crate::pki::authority::{Authority, AuthorityRequest};
use crate::pki::keyring::RootId;
use crate::planner::observed::{Certificate, KeyringState, Published};
use crate::proof::PROBER;
use crate::store::directory::DirectoryStore;
use crate::store::{Editor as _, ObjectRef};

const AUTHORITY: &str = "root-local-shop";
const DEADLINE: Duration = Duration::from_secs(60);

struct Scene {
    store: Arc<DirectoryStore>,
    /// As the first replica sees it.
    stale: Arc<StaleStore<DirectoryStore>>,
    _home: TempDir,
}

impl Scene {
    /// With one certificate.
    async fn create() -> Self {
        let home = TempDir::new().unwrap();
        let store = Arc::new(DirectoryStore::open(home.path()).unwrap());
        let spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
        store.create_authority(AUTHORITY, &spec).await.unwrap();
        let scene = Self { stale: Arc::new(StaleStore::new(&store)), store, _home: home };
        scene.certify("payments").await;
        scene
    }

    async fn certify(&self, service: &str) {
        let spec = ServiceCertificateSpec { authority: AUTHORITY.into(), ..Default::default() };
        self.store.create_certificate(&name(service), &spec).await.unwrap();
    }

    async fn certificate(&self, service: &str) -> Arc<Certificate> {
        Arc::clone(&self.store.observe().await.unwrap().certificates[&name(service)])
    }

    /// The roots of its bundle, if it is published.
    async fn published(&self, service: &str) -> Option<BTreeSet<RootId>> {
        match &self.certificate(service).await.published {
            Published::Ours(publication) => Some(publication.roots.clone()),
            _ => None,
        }
    }

    /// The root that signs, if there is no other.
    async fn only_root(&self) -> Option<RootId> {
        match &self.store.observe().await.unwrap().authorities[AUTHORITY].keyring {
            KeyringState::Present(keyring) if keyring.roots.len() == 1 => {
                Some(keyring.state.signing().clone())
            }
            _ => None,
        }
    }

    /// By the replica that sees everything, at once and without a request that the other one would try to handle.
    async fn replace_root(&self) -> RootId {
        let (mut keyring, version) = self.store.keyring(AUTHORITY).await.unwrap().unwrap();
        let (old, now) = (keyring.state.signing().clone(), SystemTime::now());
        let request = AuthorityRequest {
            common_name: "another".into(),
            lifetime: Duration::from_secs(365 * 24 * 60 * 60),
            ..AuthorityRequest::default()
        };
        let new = keyring.add(Authority::create(&request, now).unwrap());
        assert!(keyring.state.remove(&old, Some(new.clone()), "it is known".into(), now));
        keyring.tidy();
        self.store.put_keyring(AUTHORITY, &keyring, Some(&version)).await.unwrap();
        let mut other = reconciler(&self.store);
        let only = BTreeSet::from([new.clone()]);
        until("the new root published", async || {
            other.round().await.unwrap();
            let published = self.published("payments").await.as_ref() == Some(&only);
            (published && self.only_root().await.as_ref() == Some(&new)).then_some(())
        })
        .await;
        new
    }

    /// Until the first replica has tried a few times, or has issued this one.
    async fn wait_for_attempts(&self, service: &str) {
        let before = self.stale.observations.load(Ordering::SeqCst);
        until("a few rounds", async || {
            let rounds = self.stale.observations.load(Ordering::SeqCst) - before;
            (rounds > 5 || !self.certificate(service).await.versions.is_empty()).then_some(())
        })
        .await;
    }
}

fn name(service: &str) -> ObjectName {
    ObjectName::new("shop", format!("mtls-local-{service}"))
}

fn reconciler<S: Store>(store: &Arc<S>) -> Reconciler<S> {
    Reconciler::new(Arc::clone(store), Prober::new(PROBER), false, ReconcileMetrics::default())
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `leads_on`: it does not even lose the lease, as when both believe to have it.
async fn stale_leader(leads_on: bool) {
    let scene = Scene::create().await;
    let (leads, leading) = watch::channel(true);
    let replica = tokio::spawn(reconciler(&scene.stale).run(leading));
    until("the first leaf", async || scene.published("payments").await).await;

    scene.stale.hang().await;
    leads.send_replace(leads_on);
    let root = scene.replace_root().await;
    scene.certify("storefront").await;
    leads.send_replace(true);
    scene.wait_for_attempts("storefront").await;
    assert!(
        scene.certificate("storefront").await.versions.is_empty(),
        "signed under a root that was removed"
    );
    let only = BTreeSet::from([root.clone()]);
    assert_eq!(scene.published("payments").await.as_ref(), Some(&only));
    assert_eq!(scene.only_root().await.as_ref(), Some(&root));

    scene.stale.catch_up();
    let published = until("the second certificate", async || scene.published("storefront").await).await;
    assert_eq!(published, only);
    assert_eq!(scene.certificate("storefront").await.versions[&1].root, root);
    replica.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_leads_again_with_an_old_view_issues_and_publishes_nothing_under_a_removed_root() {
    stale_leader(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_does_not_notice_another_leader_issues_and_publishes_nothing_under_a_removed_root() {
    stale_leader(true).await;
}

/// The rollback of a leaf that was signed under it.
#[tokio::test(flavor = "multi_thread")]
async fn replica_with_an_old_view_does_not_go_back_to_a_leaf_of_a_removed_root() {
    let scene = Scene::create().await;
    let mut first = reconciler(&scene.stale);
    until("the first leaf", async || {
        first.round().await.unwrap();
        scene.published("payments").await
    })
    .await;
    scene.stale.hang().await;
    scene.replace_root().await;
    let before: Vec<_> = scene.certificate("payments").await.versions.keys().copied().collect();
    let about = ObjectRef::Certificate(name("payments"));
    scene.store.ask(&about, "rollback", "b1 to=1").await.unwrap();
    for _ in 0..3 {
        first.round().await.unwrap();
    }
    let after: Vec<_> = scene.certificate("payments").await.versions.keys().copied().collect();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_of_a_keyring_is_read_once_a_round_however_many_certificates_are_issued() {
    let scene = Scene::create().await;
    let mut first = reconciler(&scene.stale);
    until("the first leaf", async || {
        first.round().await.unwrap();
        scene.published("payments").await
    })
    .await;
    for number in 0..20 {
        scene.certify(&format!("service{number}")).await;
    }
    let reads = || scene.stale.version_reads.load(Ordering::SeqCst);
    let mut before = reads();
    until("nothing to do", async || {
        let begin = Instant::now();
        let round = first.round().await.unwrap();
        assert!(round.failed.is_empty(), "{:?}", round.failed);
        // An answer counts for five seconds.
        let allowed = 1 + usize::try_from(begin.elapsed().as_secs() / 5).unwrap();
        assert!(reads() <= before + allowed, "{} reads in {:?}", reads() - before, begin.elapsed());
        before = reads();
        round.settled.then_some(())
    })
    .await;
    assert!(scene.published("service19").await.is_some());
    let round = first.round().await.unwrap();
    assert!(round.settled && reads() == before, "nothing is read when there is nothing to write");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_is_published_without_being_read_back() {
    let scene = Scene::create().await;
    for number in 0..20 {
        scene.certify(&format!("service{number}")).await;
    }
    let mut first = reconciler(&scene.stale);
    until("all of them", async || {
        first.round().await.unwrap();
        scene.published("service19").await
    })
    .await;
    assert_eq!(scene.stale.loads.load(Ordering::SeqCst), 0);
    // Another process has to read what this one has stored.
    let directory = scene.store.root().join("secrets/shop/service7-tls");
    std::fs::remove_dir_all(directory).unwrap();
    let mut second = reconciler(&scene.stale);
    until("it is written again", async || {
        second.round().await.unwrap();
        scene.published("service7").await
    })
    .await;
    assert_eq!(scene.stale.loads.load(Ordering::SeqCst), 1);
}
