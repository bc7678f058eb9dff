//! How the agent's connection to its own listener is told from a client's.

#![allow(clippy::unwrap_used)]

use hotcert_tls::Acceptor;
use tokio_rustls::TlsConnector;

use super::*;
use crate::proxy_fixture::{NAME, client_config, connect, identity, publish, publisher, root, socket_pair};

const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

fn accepting(
    acceptor: Acceptor,
    socket: TcpStream,
) -> tokio::task::JoinHandle<Result<Accepted, HandshakeError>> {
    tokio::spawn(async move { accept(socket, FROM, &acceptor).await })
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
    let accepted = server.await.unwrap().unwrap();
    assert_eq!(accepted.peer.unwrap().names.dns, [NAME]);
    assert!(!accepted.self_check);
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
        assert!(server.await.unwrap().unwrap().self_check);
    }
}
