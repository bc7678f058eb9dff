//! The control plane is killed at every single write, before it and just after it: nothing is ever half
//! published, and whoever comes next brings everything to its end, with the same versions and no more.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hotcert::observed::{Held, ObjectName, Published};
use hotcert::preflight;
use hotcert::prove::{PROBER, Prober};
use hotcert::reconcile::{Counts, Reconciler};
use hotcert::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use hotcert::store::directory::DirectoryStore;
use hotcert::store::{About, Editor as _, Store};
use kit::DEADLINE;
use kit::dying::{Death, Dying};
use tempfile::TempDir;

const AUTHORITY: &str = "root-local-shop";
const SERVICES: [&str; 2] = ["payments", "storefront"];
/// What is asked for, one after the other.
const REQUESTS: [&str; 3] = ["rotate", "rollback", "rollover"];

fn certificate(service: &str) -> ObjectName {
    ObjectName::new("shop", format!("mtls-local-{service}"))
}

fn about(request: &str) -> About {
    match request {
        "rollover" => About::Authority(AUTHORITY.into()),
        _ => About::Certificate(certificate("payments")),
    }
}

/// Round by round until there is nothing to do, or the writer is dead.
async fn work<S: Store>(store: &Arc<Dying<S>>) {
    let mut reconciler = Reconciler::new(Arc::clone(store), Prober::new(PROBER), true, Counts::default());
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

/// Each Secret, whenever anybody looks: an agent would serve it, all of it.
fn assert_whole(secrets: &Path) {
    for service in SERVICES {
        let secret = secrets.join(format!("{service}-tls"));
        let read = |name: &str| std::fs::read(secret.join(name)).ok();
        if let Some(leaf) = read("tls.crt") {
            let (key, bundle) = (read("tls.key").unwrap(), read("ca.crt").unwrap());
            let judged = preflight::judge(&leaf, &key, &bundle, true, SystemTime::now());
            assert!(judged.is_ok(), "{service} is half published: {:?}", judged.err());
        }
    }
}

/// Everything that is asked for, by writers of which the first dies; says whether it did.
async fn live_through(store: &Arc<DirectoryStore>, last: usize, death: Death) -> bool {
    let secrets = store.root().join("secrets/shop");
    let mut writer = Arc::new(Dying::at(store, last, death));
    let mut died = false;
    for request in [None].into_iter().chain(REQUESTS.map(Some)) {
        if let Some(verb) = request {
            store.ask(&about(verb), verb, &format!("{verb}-1")).await.unwrap();
        }
        work(&writer).await;
        assert_whole(&secrets);
        if writer.is_dead() {
            died = true;
            writer = Arc::new(Dying::never(store));
            work(&writer).await;
            assert_whole(&secrets);
        }
    }
    died
}

async fn assert_done(store: &DirectoryStore) {
    let look = store.observe().await.unwrap();
    let Held::Ring(ring) = &look.authorities[AUTHORITY].keyring else { panic!("a keyring") };
    assert!(ring.state.rollover().is_none(), "{:?}", ring.state);
    assert_eq!((ring.roots.len(), ring.state.past.len()), (1, 1), "one rollover, and the old key is gone");
    for (service, versions) in SERVICES.into_iter().zip([4, 2]) {
        let found = &look.certificates[&certificate(service)];
        let numbers: Vec<_> = found.versions.keys().copied().collect();
        // The first; for payments one asked for and one gone back to; and one under the new root.
        assert_eq!(numbers, (1..=versions).collect::<Vec<_>>(), "{service}: nothing is done twice");
        let Published::Ours(publication) = &found.published else { panic!("{service} is published") };
        assert_eq!(publication.fingerprint, found.versions[&versions].fingerprint, "{service}");
        assert_eq!(publication.roots.iter().collect::<Vec<_>>(), [ring.state.signing()]);
        assert_eq!(found.status.version, i64::try_from(versions).ok());
    }
}

async fn place(home: &TempDir) -> Arc<DirectoryStore> {
    let store = DirectoryStore::open(home.path()).unwrap();
    let spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
    store.create_authority(AUTHORITY, &spec).await.unwrap();
    for service in SERVICES {
        let spec = ServiceCertificateSpec { authority: AUTHORITY.into(), ..Default::default() };
        store.create_certificate(&certificate(service), &spec).await.unwrap();
    }
    Arc::new(store)
}

#[test]
fn killed_at_any_write_it_leaves_nothing_half_done_and_the_next_one_finishes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let begin = Instant::now();
    let mut kills = 0;
    for death in [Death::Before, Death::After] {
        for last in 0.. {
            let died = runtime.block_on(async {
                let home = TempDir::new().unwrap();
                let store = place(&home).await;
                let died = live_through(&store, last, death).await;
                assert_done(&store).await;
                died
            });
            if !died {
                assert!(last > 20, "a whole story has more than {last} writes");
                break;
            }
            kills += 1;
        }
    }
    eprintln!("killed {kills} times in {:.1?}", begin.elapsed());
}
