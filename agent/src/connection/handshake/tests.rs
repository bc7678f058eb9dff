//! How the agent's connection to its own listener is told from a client's.

#![allow(clippy::unwrap_used)]

use hotcert_tls::{Acceptor, HandshakeFailure};
use tokio_rustls::TlsConnector;

use super::*;
use crate::proxy_fixture::{
    NAME, anonymous_client_config, client_config, connect, identity, publish, publisher, root, socket_pair,
};

fn accepting(
    acceptor: Acceptor,
    socket: TcpStream,
) -> tokio::task::JoinHandle<Result<Accepted, HandshakeError>> {
    let from = socket.peer_addr().unwrap();
    tokio::spawn(async move { accept(socket, from, &acceptor).await })
}

#[tokio::test]
async fn client_is_accepted_with_its_names_and_protocol() {
    let root = root("root");
    let mut publisher = publisher();
    publish(&mut publisher, &identity(&root, &[&root]));
    let (socket, accepted) = socket_pair().await;
    let server = accepting(publisher.identities.acceptor(["http/1.1"]), accepted);
    let mut config = client_config(&root, &root);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let _client = connect(config, socket).await.unwrap();
    let Accepted::Client(client) = server.await.unwrap().unwrap() else { panic!("not a client") };
    assert_eq!(client.peer.unwrap().names.dns, [NAME]);
}

#[tokio::test]
async fn connection_of_the_agent_itself_is_recognised_whatever_the_listener_negotiates() {
    let root = root("root");
    let mut publisher = publisher();
    let snapshot = publish(&mut publisher, &identity(&root, &[&root]));
    for protocols in [vec![], vec!["h2", "http/1.1"]] {
        let (socket, accepted) = socket_pair().await;
        let server = accepting(publisher.identities.acceptor(protocols), accepted);
        let config = snapshot.self_check_config(&[SELF_CHECK_ALPN]).unwrap();
        let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
        let _client = TlsConnector::from(config).connect(name, socket).await.unwrap();
        assert!(matches!(server.await.unwrap(), Ok(Accepted::SelfCheck)));
    }
}

#[tokio::test]
async fn check_by_an_agent_whose_leaf_is_no_clients_is_no_failure_but_a_strangers_is() {
    let root = root("root");
    let mut publisher = publisher();
    publish(&mut publisher, &identity(&root, &[&root]));
    for from_here in [true, false] {
        let (socket, accepted) = socket_pair().await;
        let from = if from_here { accepted.peer_addr().unwrap() } else { "192.0.2.1:1".parse().unwrap() };
        let acceptor = publisher.identities.acceptor(["http/1.1"]);
        let server = tokio::spawn(async move { accept(accepted, from, &acceptor).await });
        let mut config = anonymous_client_config(&root);
        config.alpn_protocols = vec![SELF_CHECK_ALPN.to_vec()];
        // In TLS 1.3 it is through before it is judged.
        let _client = connect(config, socket).await.unwrap();
        match server.await.unwrap() {
            Ok(Accepted::SelfCheck) => assert!(from_here),
            Err(error) => {
                assert!(!from_here);
                assert_eq!(error.failure(), HandshakeFailure::NoCertificate);
            }
            Ok(Accepted::Client(_)) => panic!("it was let in"),
        }
    }
}
