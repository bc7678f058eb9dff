//! The loop on a real directory.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Signal, getpid, kill_process};

use super::*;
use crate::tls::credential::Layout;
use crate::tls::fixtures::{DEADLINE, Pair, Root, bundle, client, handshake, issue, root};
use crate::tls::snapshot::{self, Current};

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

/// Reloads from `directory`; polls so rarely that only events and signals count.
fn start(directory: &Path) -> (Current, tokio::task::JoinHandle<Result<(), ReloadError>>) {
    let (publisher, current) = snapshot::channel();
    let reload = Reload {
        volume: Some(Volume::new(directory, Layout::default())),
        secret: None,
        policy: Policy::default(),
        client_auth: ClientAuth::Require,
        poll: Duration::from_secs(24 * 3600),
        publisher,
        status: ReloadStatus::default(),
    };
    (current, tokio::spawn(run(reload)))
}

async fn within_deadline<T>(event: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap().unwrap()
}

#[tokio::test]
async fn swapped_directory_is_served_by_the_next_handshake() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    swap(directory.path(), "..1", &issue(&root, |_| {}), &root);
    let (mut current, task) = start(directory.path());
    let first = within_deadline(current.first()).await;
    swap(directory.path(), "..2", &issue(&root, |_| {}), &root);
    let second = within_deadline(current.changed()).await;
    let leaf = handshake(client(&root, &[&root]), second.configs.inbound.clone().unwrap()).await.unwrap();
    assert_eq!(leaf, second.identity.leaf.certificate().to_vec());
    assert!(!second.identity.leaf.same_as(&first.identity.leaf));
    task.abort();
}

#[tokio::test]
async fn sighup_reads_again_where_no_event_tells_of_a_change() {
    let (directory, elsewhere, root) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), root("root"));
    write(elsewhere.path(), &issue(&root, |_| {}), &root);
    // The watch is on the directory of the links, which do not change.
    for name in FILES {
        symlink(elsewhere.path().join(name), directory.path().join(name)).unwrap();
    }
    let (mut current, task) = start(directory.path());
    let first = within_deadline(current.first()).await;
    write(elsewhere.path(), &issue(&root, |_| {}), &root);
    kill_process(getpid(), Signal::HUP).unwrap();
    let second = within_deadline(current.changed()).await;
    assert!(!second.identity.leaf.same_as(&first.identity.leaf));
    task.abort();
}
