#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use hotcert::pki::authority::{Authority, AuthorityRequest, Leaf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::*;
use crate::identity::{OUTSIDE, PAYMENTS, leaf_request};

const HOUR: Duration = Duration::from_secs(3600);

fn root() -> Authority {
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: 48 * HOUR, ..AuthorityRequest::default() };
    Authority::create(&request, SystemTime::now() - 24 * HOUR).unwrap()
}

fn passport(issuer: &Authority, trusted: &Authority, sightings: &Arc<Sightings>) -> Passport {
    let leaf = issuer.issue(&leaf_request(OUTSIDE, HOUR), SystemTime::now()).unwrap();
    let (certificate, key) = (leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes());
    Passport::new(certificate, key, trusted.certificate_pem().as_bytes(), sightings).unwrap()
}

/// Serves this leaf to clients that `roots` vouch for, and answers each.
async fn serve(leaf: &Leaf, roots: &Authority) -> Front {
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
    Front { address, name: "payments.shop.svc".to_owned() }
}

#[tokio::test]
async fn leaf_is_seen_even_if_it_is_refused() {
    let (root, sightings) = (root(), Arc::new(Sightings::default()));
    let expired = root.issue(&leaf_request(PAYMENTS, HOUR), SystemTime::now() - 2 * HOUR).unwrap();
    sightings.forbid(fingerprint(&expired.certificate_der));
    let front = serve(&expired, &root).await;
    assert!(passport(&root, &root, &sightings).dial(&front, &[]).await.is_err());
    assert_eq!(sightings.wrongly_served(), 1);
}

#[tokio::test]
async fn replaced_passport_is_the_one_that_servers_see() {
    let sightings = Arc::new(Sightings::default());
    let (first, second) = (root(), root());
    let leaf = first.issue(&leaf_request(PAYMENTS, HOUR), SystemTime::now()).unwrap();
    sightings.expect(fingerprint(&leaf.certificate_der));
    let front = serve(&leaf, &second).await;
    let outside = Outside::new(passport(&first, &first, &sightings));
    // In TLS 1.3 a client hears that it is refused after it has finished.
    let lets_in = async || outside.dial(&front, &[]).await.unwrap().stream.read_u8().await.is_ok();
    assert!(!lets_in().await);
    outside.replace(passport(&second, &first, &sightings)).await;
    assert!(lets_in().await);
    assert_eq!(sightings.wrongly_served(), 0);
}
