//! What the agent learns from connecting to its own listener.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt as _;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::proxy_fixture::{
    self, DEADLINE, Issued, Publisher, Root, identity, identity_of, leaf_for, publisher, root,
};

struct Scene {
    publisher: Publisher,
    status: AgentStatus,
    listener: TcpListener,
    task: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = SelfCheckTarget::Inbound(listener.local_addr().unwrap());
        let publisher = publisher();
        let current = publisher.identities.snapshots();
        let status = AgentStatus::new();
        let task = tokio::spawn(run(current, target, status.clone()));
        Self { publisher, status, listener, task }
    }

    fn publish(&mut self, identity: &Issued) {
        proxy_fixture::publish(&mut self.publisher, identity);
    }

    /// Answers one connection with the leaf of `identity`.
    async fn serve(&self, identity: &Issued) {
        let mut other = publisher();
        let snapshot = proxy_fixture::publish(&mut other, identity);
        let server = snapshot.server_config(&[SELF_CHECK_ALPN]).unwrap();
        let (socket, _) = tokio::time::timeout(DEADLINE, self.listener.accept()).await.unwrap().unwrap();
        // A client that sees another leaf than it expects ends the handshake.
        let _ = TlsAcceptor::from(server).accept(socket).await;
    }

    /// The result for this generation, once there is one.
    async fn result(&self, generation: u64) -> Result<Option<ServedLeaf>, String> {
        let found = async {
            loop {
                match self.status.report().self_check {
                    Some(check) if check.generation == generation => return check.result,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn leaf_of(root: &Root) -> Issued {
    identity(root, &[root])
}

#[tokio::test]
async fn leaf_that_the_listener_shows_is_recorded() {
    let root = root("root");
    let mut scene = Scene::new().await;
    for generation in 1..=2 {
        let identity = leaf_of(&root);
        scene.publish(&identity);
        scene.serve(&identity).await;
        let served = scene.result(generation).await.unwrap().unwrap();
        assert_eq!(served.sha256, identity.leaf.sha256);
        // The first identity is not a swap.
        assert_eq!(served.swap_to_served_seconds.is_some(), generation > 1);
    }
}

#[tokio::test]
async fn listener_that_shows_another_leaf_is_reported_until_it_shows_the_right_one() {
    let root = root("root");
    let mut scene = Scene::new().await;
    let (published, other) = (leaf_of(&root), leaf_of(&root));
    scene.publish(&published);
    scene.serve(&other).await;
    let cause = scene.result(1).await.unwrap_err();
    assert!(cause.contains(&scene.listener.local_addr().unwrap().to_string()), "{cause}");
    scene.serve(&published).await;
    let right = async {
        while scene.result(1).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, right).await.unwrap();
}

#[tokio::test]
async fn identity_that_cannot_serve_is_not_dialled() {
    let root = root("root");
    let mut scene = Scene::new().await;
    let client_only = leaf_for(&root, vec![ExtendedKeyUsagePurpose::ClientAuth]);
    scene.publish(&identity_of(&client_only, &[&root]));
    assert!(scene.result(1).await.unwrap().is_none());
    assert!(scene.listener.accept().now_or_never().is_none());
}
