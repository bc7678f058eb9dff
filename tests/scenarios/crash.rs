//! The control plane is killed at every single write, before it and just after it: nothing is ever half
//! published, and the next process brings everything to its end, with the same versions and no more.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{
    CertificateAuthority, CertificateAuthoritySpec, ServiceCertificate, ServiceCertificateSpec,
};
use hotcert::pki::preflight;
use hotcert::planner::observed::{KeyringState, Published};
use hotcert::proof::{PROBER, Prober};
use hotcert::runtime::metrics::ReconcileMetrics;
use hotcert::runtime::reconcile::Reconciler;
use hotcert::store::directory::DirectoryStore;
use hotcert::store::kubernetes::KubernetesStore;
use hotcert::store::{Editor, ObjectRef, Store};
use k8s_openapi::api::core::v1::Secret;
use kit::DEADLINE;
use kit::crashing_store::{CrashPoint, CrashingStore};
use kit::kube::{ApiServer, SYSTEM};
use kit::store::ByHand;
use kube::api::{Api, DeleteParams};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NAMESPACE: &str = "shop";
/// What is asked for, one after the other.
const REQUESTS: [&str; 3] = ["rotate", "rollback", "rollover"];

/// Where a control plane works, and what a person and an agent do there.
trait Deployment {
    type Store: Store;
    type Hand: Editor;

    /// As a process has it that has just been started.
    async fn open(&self) -> Arc<Self::Store>;

    fn hand(&self) -> &Self::Hand;

    /// `tls.crt`, `tls.key`, `ca.crt`; none before the first.
    async fn files(&self, secret: &str) -> Option<[String; 3]>;
}

/// The objects of one life, by a number, so that many may be in one cluster.
struct Cast {
    authority: String,
    services: [String; 2],
}

impl Cast {
    fn of(number: usize) -> Self {
        Self {
            authority: format!("root-local-shop{number}"),
            services: [format!("payments{number}"), format!("storefront{number}")],
        }
    }

    fn certificate(service: &str) -> ObjectName {
        ObjectName::new(NAMESPACE, format!("mtls-local-{service}"))
    }

    fn about(&self, request: &str) -> ObjectRef {
        match request {
            "rollover" => ObjectRef::Authority(self.authority.clone()),
            _ => ObjectRef::Certificate(Self::certificate(&self.services[0])),
        }
    }

    async fn create(&self, hand: &impl Editor) {
        let spec = CertificateAuthoritySpec { namespaces: vec![NAMESPACE.into()], ..Default::default() };
        hand.create_authority(&self.authority, &spec).await.unwrap();
        for service in &self.services {
            let spec = ServiceCertificateSpec { authority: self.authority.clone(), ..Default::default() };
            hand.create_certificate(&Self::certificate(service), &spec).await.unwrap();
        }
    }

    /// At any moment, each Secret that exists is one that an agent would serve whole.
    async fn assert_whole(&self, deployment: &impl Deployment) {
        for service in &self.services {
            if let Some([leaf, key, bundle]) = deployment.files(&format!("{service}-tls")).await {
                let (leaf, key, bundle) = (leaf.as_bytes(), key.as_bytes(), bundle.as_bytes());
                let judged = preflight::validate(leaf, key, bundle, true, SystemTime::now());
                assert!(judged.is_ok(), "{service} is half published: {:?}", judged.err());
            }
        }
    }

    async fn assert_done(&self, store: &impl Store) {
        let look = store.observe().await.unwrap();
        let KeyringState::Present(ring) = &look.authorities[&self.authority].keyring else {
            panic!("a keyring")
        };
        assert!(ring.state.rollover().is_none(), "{:?}", ring.state);
        assert_eq!(
            (ring.roots.len(), ring.state.rollover_history.len()),
            (1, 1),
            "one rollover, and the old key is gone"
        );
        for (service, versions) in self.services.iter().zip([4, 2]) {
            let found = &look.certificates[&Self::certificate(service)];
            let numbers: Vec<_> = found.versions.keys().copied().collect();
            // The first; for payments one asked for and one gone back to; and one under the new root.
            assert_eq!(numbers, (1..=versions).collect::<Vec<_>>(), "{service}: nothing is done twice");
            let Published::Ours(publication) = &found.published else { panic!("{service} is published") };
            assert_eq!(publication.fingerprint, found.versions[&versions].fingerprint, "{service}");
            assert_eq!(publication.roots.iter().collect::<Vec<_>>(), [ring.state.signing()]);
            assert_eq!(found.status.version, i64::try_from(versions).ok());
        }
    }
}

/// Round by round until there is nothing to do, or the writer is dead.
async fn work<S: Store>(store: &Arc<CrashingStore<S>>) {
    let mut reconciler =
        Reconciler::new(Arc::clone(store), Prober::new(PROBER), true, ReconcileMetrics::default());
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "it does not come to an end");
        match reconciler.round().await {
            Ok(round) if round.settled => return,
            _ if store.is_dead() => return,
            Ok(round) => assert!(round.failed.is_empty(), "{:?}", round.failed),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Until a look shows what a person asked for.
async fn hear(store: &impl Store, about: &ObjectRef, verb: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let look = store.observe().await.unwrap();
        let requests = match about {
            ObjectRef::Authority(name) => look.authorities.get(name).map(|authority| &authority.requests),
            ObjectRef::Certificate(name) => {
                look.certificates.get(name).map(|certificate| &certificate.requests)
            }
        };
        if requests.is_some_and(|requests| requests.contains_key(verb)) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody hears of {verb}");
        let _ = tokio::time::timeout(Duration::from_millis(20), store.changed()).await;
    }
}

/// Everything that is asked for, by writers of which the first dies; says whether it did.
async fn run_until_crash(
    deployment: &impl Deployment,
    cast: &Cast,
    last: usize,
    crash_point: CrashPoint,
) -> bool {
    cast.create(deployment.hand()).await;
    let mut store = deployment.open().await;
    let mut writer = Arc::new(CrashingStore::at(&store, last, crash_point));
    let mut died = false;
    for request in [None].into_iter().chain(REQUESTS.map(Some)) {
        if let Some(verb) = request {
            let about = cast.about(verb);
            deployment.hand().ask(&about, verb, &format!("{verb}-1")).await.unwrap();
            hear(&*store, &about, verb).await;
        }
        work(&writer).await;
        cast.assert_whole(deployment).await;
        if writer.is_dead() {
            died = true;
            store = deployment.open().await;
            writer = Arc::new(CrashingStore::never(&store));
            work(&writer).await;
            cast.assert_whole(deployment).await;
        }
    }
    cast.assert_done(&*store).await;
    died
}

/// A life for each write, until one has fewer; `after` it, its deployment is cleaned up.
fn killed_at_each_write<P: Deployment>(
    runtime: &Runtime,
    mut deployment: impl FnMut() -> P,
    mut after: impl FnMut(&Cast),
) {
    let begin = Instant::now();
    let mut kills = 0;
    for crash_point in [CrashPoint::Before, CrashPoint::After] {
        for last in 0.. {
            let cast = Cast::of(kills);
            let died = runtime.block_on(run_until_crash(&deployment(), &cast, last, crash_point));
            after(&cast);
            kills += 1;
            if !died {
                assert!(last > 20, "a whole story has more than {last} writes");
                break;
            }
        }
    }
    eprintln!("{kills} lives in {:.1?}", begin.elapsed());
}

struct Directory {
    store: DirectoryStore,
    home: TempDir,
}

impl Deployment for Directory {
    type Store = DirectoryStore;
    type Hand = DirectoryStore;

    async fn open(&self) -> Arc<DirectoryStore> {
        Arc::new(DirectoryStore::open(self.home.path()).unwrap())
    }

    fn hand(&self) -> &DirectoryStore {
        &self.store
    }

    async fn files(&self, secret: &str) -> Option<[String; 3]> {
        let secret = self.home.path().join("secrets").join(NAMESPACE).join(secret);
        secret.exists().then(|| {
            ["tls.crt", "tls.key", "ca.crt"].map(|name| fs::read_to_string(secret.join(name)).unwrap())
        })
    }
}

struct Cluster<'a> {
    server: &'a ApiServer,
    controller: kube::Client,
    hand: ByHand,
}

impl Deployment for Cluster<'_> {
    type Store = KubernetesStore;
    type Hand = ByHand;

    async fn open(&self) -> Arc<KubernetesStore> {
        let recheck = Duration::from_secs(60);
        Arc::new(KubernetesStore::start(self.controller.clone(), SYSTEM.into(), true, recheck))
    }

    fn hand(&self) -> &ByHand {
        &self.hand
    }

    async fn files(&self, secret: &str) -> Option<[String; 3]> {
        let found = self.server.api::<Secret>(NAMESPACE).get_opt(secret).await.unwrap()?;
        let data = found.data.unwrap();
        Some(["tls.crt", "tls.key", "ca.crt"].map(|name| String::from_utf8(data[name].0.clone()).unwrap()))
    }
}

#[test]
fn killed_at_any_write_to_a_directory_it_leaves_nothing_half_done_and_the_next_one_finishes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let deployment = || {
        let home = TempDir::new().unwrap();
        Directory { store: DirectoryStore::open(home.path()).unwrap(), home }
    };
    killed_at_each_write(&runtime, deployment, |_| ());
}

#[test]
fn killed_at_any_write_to_a_cluster_it_leaves_nothing_half_done_and_the_next_one_finishes() {
    let (server, account) = ApiServer::with_hotcert(&[NAMESPACE]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let deployment = || Cluster {
        server: &server,
        controller: server.client(&account.kubeconfig),
        hand: ByHand { admin: server.admin(), system: SYSTEM.into() },
    };
    let after = |cast: &Cast| {
        let authorities: Api<CertificateAuthority> = Api::all(server.admin());
        server.run(authorities.delete(&cast.authority, &DeleteParams::default())).unwrap();
        let certificates = server.api::<ServiceCertificate>(NAMESPACE);
        for service in &cast.services {
            let name = Cast::certificate(service).name;
            server.run(certificates.delete(&name, &DeleteParams::default())).unwrap();
        }
    };
    killed_at_each_write(&runtime, deployment, after);
}
