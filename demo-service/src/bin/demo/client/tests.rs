#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use hotcert::pki::authority::{Authority, AuthorityRequest, Leaf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::*;
use crate::identity::{CLIENT, PAYMENTS, leaf_request};

const HOUR: Duration = Duration::from_secs(3600);

fn root() -> Authority {
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: 48 * HOUR, ..AuthorityRequest::default() };
    Authority::create(&request, SystemTime::now() - 24 * HOUR).unwrap()
}

fn credentials(issuer: &Authority, trusted: &Authority, leaf_tracker: &Arc<LeafTracker>) -> Credentials {
    let leaf = issuer.issue(&leaf_request(CLIENT, HOUR), SystemTime::now()).unwrap();
    let (certificate, key) = (leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes());
    Credentials::new(certificate, key, trusted.certificate_pem().as_bytes(), leaf_tracker).unwrap()
}

/// Serves this leaf to clients with a certificate under `roots`.
async fn serve(leaf: &Leaf, roots: &Authority) -> ServiceAddress {
    let provider = Arc::new(default_provider());
    let mut store = RootCertStore::empty();
    store.add(roots.certificate_der().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![leaf.certificate_der.clone()],
            PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let _ = stream.write_all(b"!").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    ServiceAddress { address, name: "payments.shop.svc".to_owned() }
}

#[tokio::test]
async fn rejected_leaf_is_recorded() {
    let (root, leaf_tracker) = (root(), Arc::new(LeafTracker::default()));
    let expired = root.issue(&leaf_request(PAYMENTS, HOUR), SystemTime::now() - 2 * HOUR).unwrap();
    leaf_tracker.forbid(fingerprint(&expired.certificate_der));
    let service_address = serve(&expired, &root).await;
    assert!(credentials(&root, &root, &leaf_tracker).dial(&service_address, &[]).await.is_err());
    assert_eq!(leaf_tracker.wrongly_served(), 1);
}

#[tokio::test]
async fn new_credentials_are_shown_to_servers() {
    let leaf_tracker = Arc::new(LeafTracker::default());
    let (first, second) = (root(), root());
    let leaf = first.issue(&leaf_request(PAYMENTS, HOUR), SystemTime::now()).unwrap();
    leaf_tracker.expect(fingerprint(&leaf.certificate_der));
    let service_address = serve(&leaf, &second).await;
    let client = Client::new(credentials(&first, &first, &leaf_tracker));
    // In TLS 1.3 a client learns that it was rejected after its handshake has completed.
    let is_accepted =
        async || client.dial(&service_address, &[]).await.unwrap().stream.read_u8().await.is_ok();
    assert!(!is_accepted().await);
    client.replace(credentials(&second, &first, &leaf_tracker)).await;
    assert!(is_accepted().await);
    assert_eq!(leaf_tracker.wrongly_served(), 0);
}
