//! The loop on a real directory.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::Path;

use std::time::Duration;

use super::*;
use crate::config::ClientAuth;
use crate::credential::Layout;
use crate::fixtures::{DEADLINE, Pair, Root, bundle, client, handshake, issue, root};
use crate::identity::Policy;
use crate::snapshot::{self, Snapshots};

const FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

fn write(directory: &Path, pair: &Pair, root: &Root) {
    for (name, content) in FILES.into_iter().zip([&pair.certificate, &pair.key, &bundle(&[root])]) {
        std::fs::write(directory.join(name), content).unwrap();
    }
}

/// A version as kubelet writes it, made current by renaming `..data`.
fn swap(directory: &Path, version: &str, pair: &Pair, root: &Root) {
    std::fs::create_dir(directory.join(version)).unwrap();
    write(&directory.join(version), pair, root);
    symlink(version, directory.join("..data_tmp")).unwrap();
    std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

/// Reloads from `directory`; polls so rarely that only events and requests count.
fn start(
    directory: &Path,
) -> (Snapshots, Arc<Notify>, tokio::task::JoinHandle<Result<Infallible, ReloadError>>) {
    let (publisher, current) = snapshot::channel();
    let requested = Arc::new(Notify::new());
    let writer = Writer {
        policy: Policy::default(),
        client_auth: ClientAuth::Require,
        poll: Duration::from_secs(24 * 3600),
        publisher,
        reporter: Reporter::default(),
        progress: Progress::default(),
    };
    let volume = Some(Volume::new(directory, Layout::default()));
    let reload = Reload { volume, secret: None, writer, requested: Arc::clone(&requested) };
    (current, requested, tokio::spawn(run(reload)))
}

async fn within_deadline<T>(event: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap().unwrap()
}

#[tokio::test]
async fn swapped_directory_is_served_by_the_next_handshake() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    swap(directory.path(), "..1", &issue(&root, |_| {}), &root);
    let (mut current, _, task) = start(directory.path());
    let first = within_deadline(current.first()).await;
    swap(directory.path(), "..2", &issue(&root, |_| {}), &root);
    let second = within_deadline(current.changed()).await;
    let leaf = handshake(client(&root, &[&root]), second.server_config(&[]).unwrap()).await.unwrap();
    assert_eq!(leaf, second.identity.leaf.certificate().to_vec());
    assert!(!second.identity.leaf.same_as(&first.identity.leaf));
    task.abort();
}

#[tokio::test]
async fn request_reads_again_where_no_event_tells_of_a_change() {
    let (directory, elsewhere, root) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), root("root"));
    write(elsewhere.path(), &issue(&root, |_| {}), &root);
    // The watch is on the directory of the links, which do not change.
    for name in FILES {
        symlink(elsewhere.path().join(name), directory.path().join(name)).unwrap();
    }
    let (mut current, requested, task) = start(directory.path());
    let first = within_deadline(current.first()).await;
    write(elsewhere.path(), &issue(&root, |_| {}), &root);
    requested.notify_one();
    let second = within_deadline(current.changed()).await;
    assert!(!second.identity.leaf.same_as(&first.identity.leaf));
    task.abort();
}
