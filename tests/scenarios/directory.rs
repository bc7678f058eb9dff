//! A directory as the store of one machine: what any store promises, and a real agent on what is
//! published there.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use hotcert::observed::{ObjectName, Published};
use hotcert::resource::ServiceCertificateSpec;
use hotcert::store::directory::DirectoryStore;
use hotcert::store::{Contents, Editor as _, Store as _};
use kit::agent::Launch;
use kit::echo::Echo;
use kit::pki::{self, Pair};
use kit::store::{self, Hand, NAMESPACE};
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

macro_rules! suite {
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

suite! {
    keyring_comes_back_and_signs_the_same
    keyring_over_an_old_stamp_is_overtaken
    keyring_is_created_once
    keyring_forgets_roots_that_are_not_needed
    version_is_kept_once_and_comes_back
    version_is_pruned_again_and_again
    publication_is_seen_as_it_was_written
    published_version_is_recognised
    publication_over_an_old_stamp_is_overtaken
    deleted_secret_is_seen_and_written_again
    edited_secret_is_seen_and_written_again
    secret_of_somebody_else_is_not_touched
    secret_of_another_certificate_is_not_touched
    statuses_come_back
    requests_appear_until_they_are_replaced
    objects_are_created_once
    root_to_import_is_seen
    nothing_that_is_shown_has_a_key
}

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
            certificate: leaf.certificate_pem.clone(),
            key: leaf.key_pem.clone(),
            bundle: root.certificate_pem().to_owned(),
            revision,
            version: revision,
            written_at: SystemTime::now(),
        };
        let seen = runtime.block_on(directory.store.observe()).unwrap();
        let over = match &seen.certificates[&name].published {
            Published::Absent => None,
            Published::Ours(publication) => Some(publication.stamp.clone()),
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
