//! From the builder to a running reload, and its end.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixtures::{DEADLINE, Pair, bundle, issue, root};

fn write(directory: &std::path::Path, pair: &Pair, roots: &str) {
    for (name, content) in [("tls.crt", pair.certificate.as_str()), ("tls.key", &pair.key), ("ca.crt", roots)]
    {
        std::fs::write(directory.join(name), content).unwrap();
    }
}

#[tokio::test]
async fn started_identity_is_current_and_is_reloaded() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    write(directory.path(), &issue(&root, |_| {}), &bundle(&[&root]));
    let start = Reloader::builder().directory(directory.path()).start();
    let identities = tokio::time::timeout(DEADLINE, start).await.unwrap().unwrap();
    let first = identities.current().unwrap();
    assert_eq!(first.generation, 1);
    write(directory.path(), &issue(&root, |_| {}), &bundle(&[&root]));
    let mut snapshots = identities.snapshots();
    let newer = async {
        loop {
            match snapshots.changed().await {
                Some(snapshot) if snapshot.generation > 1 => return snapshot,
                Some(_) => {}
                None => panic!("the reload ended"),
            }
        }
    };
    let newer = tokio::time::timeout(DEADLINE, newer).await.unwrap();
    assert!(!newer.identity.leaf.same_as(&first.identity.leaf));
}

#[tokio::test]
async fn what_is_missing_at_the_start_is_in_the_status_until_it_comes() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    let identities = Reloader::builder().directory(directory.path()).start_without_waiting().unwrap();
    let told = async {
        while identities.status().rejected_leaf.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, told).await.unwrap();
    assert!(identities.current().is_none());
    write(directory.path(), &issue(&root, |_| {}), &bundle(&[&root]));
    let mut snapshots = identities.snapshots();
    assert!(tokio::time::timeout(DEADLINE, snapshots.first()).await.unwrap().is_some());
}

#[tokio::test]
async fn leaf_that_cannot_serve_is_for_clients_only() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    let client = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    write(directory.path(), &issue(&root, client), &bundle(&[&root]));
    let builder = Reloader::builder().directory(directory.path());
    let identities = builder.clone().start_without_waiting().unwrap();
    let mut events = identities.subscribe();
    let refused = tokio::time::timeout(DEADLINE, events.next()).await.unwrap();
    assert!(matches!(refused, Some(crate::Event::Refused { .. })), "{refused:?}");
    let identities = tokio::time::timeout(DEADLINE, builder.client_only().start()).await.unwrap().unwrap();
    assert!(identities.acceptor(["h2"]).current().is_none());
    let expected = crate::ExpectedPeer::name("a.test").unwrap();
    assert!(identities.connector(expected).current().is_some());
}

#[tokio::test]
async fn last_handle_ends_the_reload_and_a_reader_does_not_keep_it() {
    let (directory, root) = (tempfile::tempdir().unwrap(), root("root"));
    write(directory.path(), &issue(&root, |_| {}), &bundle(&[&root]));
    let identities = Reloader::builder().directory(directory.path()).start().await.unwrap();
    let (acceptor, mut snapshots) = (identities.acceptor(["h2"]), identities.snapshots());
    drop(identities);
    assert!(snapshots.changed().await.is_some(), "the acceptor keeps it");
    drop(acceptor);
    let end = async { while snapshots.changed().await.is_some() {} };
    tokio::time::timeout(DEADLINE, end).await.unwrap();
    assert!(snapshots.load().is_some(), "what is current stays usable");
}

#[test]
fn builder_says_what_is_missing() {
    let error = Reloader::builder().directory("/nowhere").start_without_waiting().unwrap_err();
    assert!(matches!(error, StartError::NoRuntime));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let error = Reloader::builder().start_without_waiting().unwrap_err();
    assert_eq!(error.to_string(), "there is no source: give the builder a directory or a Kubernetes Secret");
    #[cfg(feature = "kubernetes")]
    {
        let error = Reloader::builder().kubernetes_secret("shop", "a/b").start_without_waiting().unwrap_err();
        assert!(error.to_string().contains("write NAMESPACE/NAME"), "{error}");
    }
}
