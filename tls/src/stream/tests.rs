//! What a connection learns of the identity after its handshake.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::fixtures::{DEADLINE, NAME, Root, credential, issue, root};
use crate::{ClientStream, ExpectedPeer, Identities, ManualSource, Reloader, ServerStream};

/// One side, and its own source.
struct Side {
    source: ManualSource,
    identities: Identities,
}

impl Side {
    fn new(issuer: &Root, roots: &[&Root]) -> Self {
        let (source, identities) = Reloader::builder().start_manually();
        let mut side = Self { source, identities };
        side.publish(issuer, roots);
        side
    }

    fn publish(&mut self, issuer: &Root, roots: &[&Root]) {
        self.source.offer(&credential(&issue(issuer, |_| {}), roots));
    }
}

async fn connect(server: &Side, client: &Side) -> (ServerStream<DuplexStream>, ClientStream<DuplexStream>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = server.identities.acceptor(["h2"]);
    let connector = client.identities.connector(ExpectedPeer::name(NAME).unwrap()).alpn(["h2"]);
    let both = async { tokio::join!(acceptor.accept(near), connector.connect(NAME, far)) };
    let (accepted, connected) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    (accepted.unwrap(), connected.unwrap())
}

#[tokio::test]
async fn both_sides_know_their_peer_and_carry_bytes() {
    let root = root("root");
    let (server, client) = (Side::new(&root, &[&root]), Side::new(&root, &[&root]));
    let (mut accepted, mut connected) = connect(&server, &client).await;
    assert_eq!(accepted.peer().unwrap().names.dns, [NAME]);
    assert_eq!(connected.peer().names.dns, [NAME]);
    assert_eq!(accepted.peer().unwrap().sha256, client.identities.current().unwrap().identity.leaf.sha256);
    assert_eq!((accepted.alpn_protocol(), connected.alpn_protocol()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
    let exchange = async {
        connected.write_all(b"question").await.unwrap();
        connected.flush().await.unwrap();
        let mut read = [0; 8];
        accepted.read_exact(&mut read).await.unwrap();
        read
    };
    assert_eq!(&tokio::time::timeout(DEADLINE, exchange).await.unwrap(), b"question");
}

#[tokio::test]
async fn peer_of_a_removed_root_is_untrusted_from_that_moment_on() {
    let (old, new) = (root("old"), root("new"));
    let mut server = Side::new(&old, &[&old, &new]);
    let mut client = Side::new(&old, &[&old, &new]);
    let (accepted, connected) = connect(&server, &client).await;
    let (mut of_client, mut of_server) = (Box::pin(accepted.untrusted()), Box::pin(connected.untrusted()));
    // Neither a new leaf nor an added root changes anything.
    for side in [&mut server, &mut client] {
        side.publish(&new, &[&old, &new]);
    }
    assert!(of_client.as_mut().now_or_never().is_none() && of_server.as_mut().now_or_never().is_none());
    for side in [&mut server, &mut client] {
        side.publish(&new, &[&new]);
    }
    tokio::time::timeout(DEADLINE, of_client).await.unwrap();
    tokio::time::timeout(DEADLINE, of_server).await.unwrap();
    // Asked afterwards, too.
    tokio::time::timeout(DEADLINE, accepted.untrusted()).await.unwrap();
    // A peer under the root that stayed is still trusted.
    let (accepted, _connected) = connect(&server, &client).await;
    assert!(accepted.untrusted().now_or_never().is_none());
}

#[tokio::test]
async fn client_connection_is_superseded_by_the_next_generation() {
    let root = root("root");
    let (server, mut client) = (Side::new(&root, &[&root]), Side::new(&root, &[&root]));
    let (_accepted, connected) = connect(&server, &client).await;
    let mut superseded = Box::pin(connected.superseded());
    assert!(superseded.as_mut().now_or_never().is_none());
    client.publish(&root, &[&root]);
    tokio::time::timeout(DEADLINE, superseded).await.unwrap();
}

#[tokio::test]
async fn client_without_a_certificate_has_no_trust_to_lose() {
    let (old, new) = (root("old"), root("new"));
    let (mut source, identities) = Reloader::builder().without_client_certificates().start_manually();
    source.offer(&credential(&issue(&old, |_| {}), &[&old]));
    let mut server = Side { source, identities };
    let client = Side::new(&old, &[&old]);
    let (accepted, _connected) = connect(&server, &client).await;
    assert!(accepted.peer().is_none());
    server.publish(&new, &[&new]);
    assert!(accepted.untrusted().now_or_never().is_none());
}
