//! Whom a client accepts, and what it keeps.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

use crate::fixtures::{DEADLINE, NAME, Root, credential, issue, root};
use crate::{ClientStream, Connector, ExpectedPeer, HandshakeError, HandshakeFailure, Identities, Reloader};

fn identities(issuer: &Root, roots: &[&Root]) -> Identities {
    let (mut source, identities) = Reloader::builder().start_manually();
    source.offer(&credential(&issue(issuer, |_| {}), roots));
    identities
}

/// A server of rustls itself, which stores sessions, with a leaf of `root`.
fn plain_server(root: &Root) -> Arc<ServerConfig> {
    let pair = issue(root, |_| {});
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// A connection to `server`, over which a byte has come, and how its handshake was.
async fn connect(
    connector: &Connector,
    server: &Arc<ServerConfig>,
) -> Result<(ClientStream<DuplexStream>, Option<HandshakeKind>), HandshakeError> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(near).await.ok()?;
        stream.write_u8(1).await.ok()?;
        stream.flush().await.ok()?;
        stream.get_ref().1.handshake_kind()
    };
    let connect = async {
        let mut stream = connector.connect(NAME, far).await?;
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        Ok(stream)
    };
    let both = async { tokio::join!(connect, accept) };
    let (stream, kind) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    Ok((stream?, kind))
}

/// A stored session would outlive the trust under which it was made.
#[tokio::test]
async fn session_that_a_server_offers_is_not_kept() {
    let root = root("root");
    let (identities, server) = (identities(&root, &[&root]), plain_server(&root));
    let connector = identities.connector(ExpectedPeer::name(NAME).unwrap());
    for _ in 0..3 {
        let (_stream, kind) = connect(&connector, &server).await.unwrap();
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn server_with_another_name_or_root_is_refused() {
    let (ours, theirs) = (root("ours"), root("theirs"));
    let identities = identities(&ours, &[&ours]);
    for (expected, server, failure) in [
        (ExpectedPeer::name("other.test").unwrap(), plain_server(&ours), HandshakeFailure::WrongName),
        (ExpectedPeer::spiffe("spiffe://d/a").unwrap(), plain_server(&ours), HandshakeFailure::WrongName),
        (ExpectedPeer::name(NAME).unwrap(), plain_server(&theirs), HandshakeFailure::Untrusted),
    ] {
        let error = connect(&identities.connector(expected), &server).await.unwrap_err();
        assert_eq!(error.failure(), failure, "{error}");
    }
}

/// Generations of two identities have the same numbers.
#[test]
fn configuration_is_made_once_for_a_snapshot_and_anew_for_another_of_the_same_generation() {
    let root = root("root");
    let (one, other) = (identities(&root, &[&root]), identities(&root, &[&root]));
    let (first, second) = (one.current().unwrap(), other.current().unwrap());
    assert_eq!(first.generation, second.generation);
    let connector = one.connector(ExpectedPeer::name(NAME).unwrap());
    let config = connector.config(&first).unwrap();
    assert!(Arc::ptr_eq(&config, &connector.clone().config(&first).unwrap()), "made once, for clones too");
    assert!(!Arc::ptr_eq(&config, &connector.config(&second).unwrap()));
}

#[tokio::test]
async fn without_an_identity_nothing_is_sent() {
    let (_source, identities) = Reloader::builder().start_manually();
    let connector = identities.connector(ExpectedPeer::name(NAME).unwrap());
    let (near, mut far) = tokio::io::duplex(1024);
    let error = connector.connect(NAME, near).await.unwrap_err();
    assert_eq!(error.failure(), HandshakeFailure::NoIdentity);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert!(sent.is_empty());
}
