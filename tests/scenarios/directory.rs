//! A directory as the store of one machine: what any store promises, and a real agent on what is
//! published there.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{CertificateAuthoritySpec, ServiceCertificateSpec};
use hotcert::planner::observed::Published;
use hotcert::store::directory::DirectoryStore;
use hotcert::store::{Contents, Editor, LeafPem, ObjectRef, Store as _, StoreError};
use kit::agent::Launch;
use kit::echo::Echo;
use kit::machine::Machine;
use kit::pki::{self, Pair};
use kit::store::{self, Hand, NAMESPACE};
use kit::{DEADLINE, within};
use rustix::process::Signal;
use tempfile::TempDir;

struct Directory {
    store: DirectoryStore,
    parent: TempDir,
}

impl Directory {
    fn create() -> Self {
        let parent = tempfile::tempdir().unwrap();
        Self { store: DirectoryStore::open(parent.path().join("hotcert")).unwrap(), parent }
    }

    fn secret(&self, secret: &ObjectName) -> PathBuf {
        self.store.root().join("secrets").join(&secret.namespace).join(&secret.name)
    }
}

impl Editor for Directory {
    async fn ask(&self, about: &ObjectRef, verb: &str, text: &str) -> Result<(), StoreError> {
        self.store.ask(about, verb, text).await
    }

    async fn create_authority(&self, name: &str, spec: &CertificateAuthoritySpec) -> Result<(), StoreError> {
        self.store.create_authority(name, spec).await
    }

    async fn create_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> Result<(), StoreError> {
        self.store.create_certificate(name, spec).await
    }

    async fn delete_authority(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete_authority(name).await
    }

    async fn delete_certificate(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.store.delete_certificate(name).await
    }
}

impl Hand for Directory {
    async fn delete_secret(&self, secret: &ObjectName) {
        fs::remove_dir_all(self.secret(secret)).unwrap();
    }

    async fn edit_secret(&self, secret: &ObjectName, file: &str, contents: &str) {
        fs::write(self.secret(secret).join(file), contents).unwrap();
    }

    async fn create_secret(&self, secret: &ObjectName, files: &[(&str, &str)]) {
        fs::create_dir_all(self.secret(secret)).unwrap();
        for (name, contents) in files {
            fs::write(self.secret(secret).join(name), contents).unwrap();
        }
    }

    async fn read_secret(&self, secret: &ObjectName, file: &str) -> String {
        fs::read_to_string(self.secret(secret).join(file)).unwrap()
    }

    async fn put_import(&self, name: &str, certificate: &str, key: &str) {
        let directory = self.store.root().join("imports").join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("tls.crt"), certificate).unwrap();
        fs::write(directory.join("tls.key"), key).unwrap();
    }
}

macro_rules! one_by_one {
    ($($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let directory = Directory::create();
                store::$promise(&directory.store, &directory).await;
            }
        )*
    };
}

kit::every_promise_of_a_store!(one_by_one);

#[test]
fn agent_serves_what_is_published_in_the_directory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = Directory::create();
    let name = ObjectName::new(NAMESPACE, "mtls-prod-payments");
    let spec = ServiceCertificateSpec { authority: "root-prod-main".into(), ..Default::default() };
    runtime.block_on(directory.store.create_certificate(&name, &spec)).unwrap();

    let root = pki::authority("root");
    let publish = |revision| {
        let leaf = root.issue(&pki::request("payments"), SystemTime::now()).unwrap();
        let contents = Contents {
            leaf: Some(LeafPem { certificate: leaf.certificate_pem.clone(), key: leaf.key_pem.clone() }),
            bundle: root.certificate_pem().to_owned(),
            revision,
            version: revision,
            written_at: SystemTime::now(),
        };
        let seen = runtime.block_on(directory.store.observe()).unwrap();
        let over = match &seen.certificates[&name].published {
            Published::Absent => None,
            Published::Ours(publication) => Some(publication.resource_version.clone()),
            other => panic!("{other:?}"),
        };
        runtime.block_on(directory.store.publish(&name, "payments-tls", &contents, over.as_ref())).unwrap();
        Pair::new(leaf.certificate_pem, leaf.key_pem.as_str())
    };

    let leaf = publish(1);
    let (echo, identity) = (Echo::default(), directory.secret(&ObjectName::new(NAMESPACE, "payments-tls")));
    // Only the rename can tell it of the next leaf.
    let agent = Launch::new(&identity).inbound("", echo.address).args(["--poll-interval", "1h"]).ready();
    agent.wait_serving(&leaf.serial);
    let next = publish(2);
    agent.wait_serving(&next.serial);
    assert!(directory.parent.path().exists());
}

#[test]
fn second_controller_on_a_directory_waits_and_leads_when_the_first_is_killed() {
    let machine = Machine::with(&["payments"]);
    let first = machine.controller(1, &[]);
    first.wait_ready();
    let second = machine.controller(1, &[]);
    second.until_logged("waiting to lead");
    let readiness = second.admin("/readyz");
    let waits = format!("waiting for another controller, process {}", first.id());
    assert!(readiness.status == 503 && readiness.text().contains(&waits), "{}", readiness.text());
    let health = second.health();
    assert_eq!((&health["ready"], &health["leading"]), (&false.into(), &false.into()), "{health:#}");
    let leading =
        |controller: &kit::agent::Agent| controller.metrics().one("hotcert_controller_leading", &[]);
    assert_eq!((leading(&first), leading(&second)), (1.0, 0.0));
    // Commands write while one leads and one waits.
    let before = machine.shown("payments");
    machine.succeeds(&["rotate", "shop/mtls-local-payments"]);
    assert_ne!(machine.shown("payments"), before);
    assert_eq!(second.metrics().sum("hotcert_controller_actions_total", &[]), 0.0);

    first.signal(Signal::KILL);
    second.wait_ready();
    assert_eq!(leading(&second), 1.0);
    let before = machine.shown("payments");
    machine.succeeds(&["rotate", "shop/mtls-local-payments"]);
    assert_ne!(machine.shown("payments"), before);
}

#[test]
fn versions_of_a_deleted_certificate_are_removed_and_its_secret_is_served_on() {
    let machine = Machine::with(&["payments", "storefront"]);
    let _controller = machine.controller(1, &[]);
    let versions = |name: &str| machine.home.path().join("state/versions/shop/mtls-local-".to_owned() + name);
    assert!(versions("payments").exists());
    fs::remove_file(machine.home.path().join("certificates/shop/mtls-local-payments.yaml")).unwrap();
    within(2 * DEADLINE, "no versions", || (!versions("payments").exists()).then_some(()));
    assert!(versions("storefront").exists());
    assert!(machine.secret("payments").join("tls.key").exists());
    machine.shown("payments");
}
