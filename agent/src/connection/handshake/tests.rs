//! The handshake over real sockets, with rustls clients.

#![allow(clippy::unwrap_used)]

use rustls::{AlertDescription, Error};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::proxy_fixture::{DEADLINE, NAME, client_config, connect, identity, publish, root, socket_pair};
use crate::tls::hex::sha256_hex;
use crate::tls::snapshot;

const SELECT: SelectConfig = |configs| configs.inbound.as_ref();

/// Accepts one client; returns its socket.
async fn accepting(
    current: &Current,
    deadline: Duration,
) -> (TcpStream, JoinHandle<Result<Accepted, HandshakeError>>) {
    let (client, server) = socket_pair().await;
    let current = current.clone();
    let server =
        tokio::spawn(async move { accept(server, &current, SELECT, &Peers::default(), deadline).await });
    (client, server)
}

#[tokio::test]
async fn trusted_client_is_accepted_with_its_names() {
    let root = root("root");
    let (mut publisher, current) = snapshot::channel();
    publish(&mut publisher, &identity(&root, &[&root]));
    let (socket, server) = accepting(&current, DEADLINE).await;
    let _client = connect(client_config(&root, &root), socket).await.unwrap();
    let accepted = server.await.unwrap().unwrap();
    assert_eq!(accepted.peer.unwrap().names.dns, [NAME]);
    assert!(!accepted.self_check);
}

#[tokio::test]
async fn refused_client_that_has_sent_its_request_receives_the_alert() {
    let (ours, theirs) = (root("ours"), root("theirs"));
    let (mut publisher, current) = snapshot::channel();
    publish(&mut publisher, &identity(&ours, &[&ours]));
    let (socket, server) = accepting(&current, DEADLINE).await;
    // In TLS 1.3 the client is done before the server has verified it. It sends its request while the server
    // refuses it, and reads only then.
    let mut client = connect(client_config(&ours, &theirs), socket).await.unwrap();
    client.write_all(&[0; 16 * 1024]).await.unwrap();
    client.get_ref().0.readable().await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.write_all(&[0; 1024]).await.unwrap();
    }
    let error = timeout(DEADLINE, client.read_u8()).await.unwrap().unwrap_err();
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    assert_eq!(tls, Some(&Error::AlertReceived(AlertDescription::UnknownCA)), "{error}");
    drop(client);
    let error = server.await.unwrap().err().unwrap();
    assert_eq!(error.outcome(), HandshakeResult::Untrusted);
    assert!(error.is_refusal());
    assert_eq!(
        error.to_string(),
        "handshake failed: the client's certificate is not signed by a root in the trust bundle"
    );
}

#[tokio::test]
async fn client_that_refuses_the_leaf_is_described() {
    let (ours, theirs) = (root("ours"), root("theirs"));
    let (mut publisher, current) = snapshot::channel();
    publish(&mut publisher, &identity(&ours, &[&ours]));
    let (socket, server) = accepting(&current, DEADLINE).await;
    assert!(connect(client_config(&theirs, &ours), socket).await.is_err());
    let error = server.await.unwrap().err().unwrap();
    assert_eq!(error.outcome(), HandshakeResult::RefusedByPeer);
    assert_eq!(error.to_string(), "handshake failed: the client does not trust this agent's certificate");
}

#[tokio::test]
async fn silent_client_is_given_up_at_the_deadline() {
    let root = root("root");
    let (mut publisher, current) = snapshot::channel();
    publish(&mut publisher, &identity(&root, &[&root]));
    let (_silent, server) = accepting(&current, Duration::from_millis(50)).await;
    let error = timeout(DEADLINE, server).await.unwrap().unwrap().err().unwrap();
    assert_eq!(error.outcome(), HandshakeResult::Timeout);
    assert_eq!(error.to_string(), "handshake failed: it was not complete within 50ms");
}

#[tokio::test]
async fn client_hello_after_a_swap_gets_the_new_leaf_on_an_older_socket() {
    let root = root("root");
    let (mut publisher, current) = snapshot::channel();
    publish(&mut publisher, &identity(&root, &[&root]));
    let (socket, server) = accepting(&current, DEADLINE).await;
    // The server task waits for the ClientHello before the swap.
    tokio::task::yield_now().await;
    let swapped = publish(&mut publisher, &identity(&root, &[&root]));
    let client = connect(client_config(&root, &root), socket).await.unwrap();
    let leaf = peer_chain(client.get_ref().1).first().map(|leaf| sha256_hex(leaf));
    assert_eq!(leaf.as_deref(), Some(swapped.identity.leaf.sha256.as_str()));
    assert_eq!(server.await.unwrap().unwrap().snapshot.generation, swapped.generation);
}

#[tokio::test]
async fn without_an_identity_no_client_is_answered() {
    let root = root("root");
    let (_publisher, current) = snapshot::channel();
    let (socket, server) = accepting(&current, DEADLINE).await;
    assert!(connect(client_config(&root, &root), socket).await.is_err());
    assert_eq!(server.await.unwrap().err().unwrap().outcome(), HandshakeResult::NoIdentity);
}
