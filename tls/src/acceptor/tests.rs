//! The handshake over real sockets, with rustls clients.

#![allow(clippy::unwrap_used)]

use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, Error};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientTls;

use super::*;
use crate::digest::sha256_hex;
use crate::fixtures::{DEADLINE, NAME, Root, client, credential, issue, root};
use crate::handshake::HandshakeFailure;
use crate::identities::Identities;
use crate::reload::ManualSource;
use crate::reloader::Reloader;

const NO_ALPN: [&str; 0] = [];

/// An identity under `issuer` that trusts `roots`, and its writer.
fn published(issuer: &Root, roots: &[&Root]) -> (ManualSource, Identities) {
    let (mut source, identities) = Reloader::builder().start_manually();
    source.offer(&credential(&issue(issuer, |_| {}), roots));
    (source, identities)
}

/// Accepts one client; returns its socket.
async fn accepting(
    acceptor: Acceptor,
) -> (TcpStream, JoinHandle<Result<ServerStream<TcpStream>, HandshakeError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connected, listener.accept());
    let socket = accepted.unwrap().0;
    (client.unwrap(), tokio::spawn(async move { acceptor.accept(socket).await }))
}

async fn connect(config: Arc<ClientConfig>, socket: TcpStream) -> io::Result<ClientTls<TcpStream>> {
    TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), socket).await
}

#[tokio::test]
async fn trusted_client_is_accepted_with_its_names() {
    let root = root("root");
    let (_source, identities) = published(&root, &[&root]);
    let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
    let _client = connect(client(&root, &[&root]), socket).await.unwrap();
    let accepted = server.await.unwrap().unwrap();
    assert_eq!(accepted.peer().unwrap().names.dns, [NAME]);
}

#[tokio::test]
async fn refused_client_that_has_sent_its_request_receives_the_alert() {
    let (ours, theirs) = (root("ours"), root("theirs"));
    let (_source, identities) = published(&ours, &[&ours]);
    let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
    // In TLS 1.3 the client is done before the server has verified it. It sends its request while the server
    // refuses it, and reads only then.
    let mut client = connect(Arc::new(plain_client(&ours, &theirs, &TLS13)), socket).await.unwrap();
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
    assert_eq!(error.failure(), HandshakeFailure::Untrusted);
    assert!(error.failure().is_refusal());
    assert_eq!(
        error.to_string(),
        "handshake failed: the client's certificate is not signed by a root in the trust bundle"
    );
}

#[tokio::test]
async fn client_that_refuses_the_leaf_is_described() {
    let (ours, theirs) = (root("ours"), root("theirs"));
    let (_source, identities) = published(&ours, &[&ours]);
    let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
    assert!(connect(Arc::new(plain_client(&theirs, &ours, &TLS13)), socket).await.is_err());
    let error = server.await.unwrap().err().unwrap();
    assert_eq!(error.failure(), HandshakeFailure::RefusedByPeer);
    assert_eq!(
        error.to_string(),
        "handshake failed: the client does not trust the certificate presented to it"
    );
}

#[tokio::test]
async fn silent_client_is_given_up_at_the_deadline() {
    let root = root("root");
    let (_source, identities) = published(&root, &[&root]);
    let (_silent, server) =
        accepting(identities.acceptor(NO_ALPN).handshake_timeout(Duration::from_millis(50))).await;
    let error = timeout(DEADLINE, server).await.unwrap().unwrap().err().unwrap();
    assert_eq!(error.failure(), HandshakeFailure::Timeout);
    assert_eq!(error.to_string(), "handshake failed: it was not complete within 50ms");
}

#[tokio::test]
async fn client_hello_after_a_swap_gets_the_new_leaf_on_an_older_socket() {
    let root = root("root");
    let (mut source, identities) = published(&root, &[&root]);
    let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
    // The server task waits for the ClientHello before the swap.
    tokio::task::yield_now().await;
    source.offer(&credential(&issue(&root, |_| {}), &[&root]));
    let swapped = identities.current().unwrap();
    let client = connect(client(&root, &[&root]), socket).await.unwrap();
    let leaf = client.get_ref().1.peer_certificates().unwrap().first().map(|leaf| sha256_hex(leaf));
    assert_eq!(leaf.as_deref(), Some(swapped.identity.leaf.sha256.as_str()));
    assert_eq!(server.await.unwrap().unwrap().snapshot().generation, swapped.generation);
}

#[tokio::test]
async fn client_of_tls_1_2_that_names_its_weakest_cipher_suite_first_gets_the_strongest() {
    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
    let root = root("root");
    let (_source, identities) = published(&root, &[&root]);
    let weak = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let strong = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    for (offered, chosen) in [(vec![weak, strong], strong), (vec![strong, weak], strong), (vec![weak], weak)]
    {
        let provider = rustls::crypto::CryptoProvider { cipher_suites: offered, ..default_provider() };
        let config = client_of(&root, &root, &rustls::version::TLS12, provider);
        let (socket, _server) = accepting(identities.acceptor(NO_ALPN)).await;
        let client = connect(Arc::new(config), socket).await.unwrap();
        assert_eq!(client.get_ref().1.negotiated_cipher_suite(), Some(chosen));
    }
}

#[tokio::test]
async fn without_an_identity_no_client_is_answered() {
    let root = root("root");
    let (_source, identities) = Reloader::builder().start_manually();
    let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
    assert!(connect(client(&root, &[&root]), socket).await.is_err());
    assert_eq!(server.await.unwrap().err().unwrap().failure(), HandshakeFailure::NoIdentity);
}

/// A stored session would outlive the trust under which it was made.
#[tokio::test]
async fn client_that_stores_sessions_makes_a_full_handshake_each_time() {
    let root = root("root");
    let (_source, identities) = published(&root, &[&root]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = plain_client(&root, &root, version);
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for _ in 0..3 {
            let (socket, server) = accepting(identities.acceptor(NO_ALPN)).await;
            let mut client = connect(Arc::clone(&config), socket).await.unwrap();
            let mut server = server.await.unwrap().unwrap();
            // What the server sends after the handshake, such as tickets, is read with the byte.
            server.write_u8(1).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(timeout(DEADLINE, client.read_u8()).await.unwrap().unwrap(), 1);
            let kind = client.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full), "{version:?}");
        }
    }
}

/// A client of rustls itself that trusts `trusted`, with a leaf of `issuer`.
fn plain_client(
    trusted: &Root,
    issuer: &Root,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    client_of(trusted, issuer, version, rustls::crypto::aws_lc_rs::default_provider())
}

fn client_of(
    trusted: &Root,
    issuer: &Root,
    version: &'static rustls::SupportedProtocolVersion,
    provider: rustls::crypto::CryptoProvider,
) -> ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let pair = issue(issuer, |_| {});
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap()
}

#[tokio::test]
async fn acceptors_of_one_identity_share_the_places_unless_one_has_its_own() {
    let root = root("root");
    let (mut source, identities) = Reloader::builder().max_handshakes(1).start_manually();
    source.offer(&credential(&issue(&root, |_| {}), &[&root]));
    let own = identities.acceptor(NO_ALPN).max_handshakes(1);
    let (_silent, apart) = accepting(own).await;
    let (_silent, first) = accepting(identities.acceptor(["h2"])).await;
    while identities.acceptor(NO_ALPN).limiter.active() == 0 {
        tokio::task::yield_now().await;
    }
    let (socket, second) = accepting(identities.acceptor(NO_ALPN)).await;
    let _client = connect(client(&root, &[&root]), socket).await.unwrap();
    assert!(second.await.unwrap().is_ok());
    assert_eq!(first.await.unwrap().unwrap_err().failure(), HandshakeFailure::Evicted);
    assert!(!apart.is_finished());
}

#[tokio::test]
async fn source_whose_handshakes_fail_is_turned_away_without_more_than_the_call() {
    let root = root("root");
    let (_source, identities) = published(&root, &[&root]);
    let acceptor = identities.acceptor(NO_ALPN);
    let (honest, hostile) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let served = async || {
        let (near, far) = tokio::io::duplex(1 << 14);
        let connecting = TlsConnector::from(client(&root, &[&root]));
        let connecting = connecting.connect(ServerName::try_from(NAME).unwrap(), near);
        let (client, server) = tokio::join!(connecting, acceptor.accept_from(far, honest));
        client.is_ok() && server.is_ok()
    };
    assert!(served().await);
    let mut failed = 0;
    loop {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(b"\x16\x03\x01\x00\x05garba").await.unwrap();
        match acceptor.accept_from(far, hostile).await.unwrap_err().failure() {
            HandshakeFailure::Malformed => failed += 1,
            failure => break assert_eq!(failure, HandshakeFailure::Throttled),
        }
        assert!(failed < 100_000, "it may go on as it likes");
    }
    assert!(failed >= 500, "{failed} are too few for clients behind one address");
    assert!(served().await);
}
