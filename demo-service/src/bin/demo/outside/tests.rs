#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use hotcert::authority::LeafRequest;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::*;
use crate::identity::{PAYMENTS, authority, issue, leaf_request};

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
                let mut request = [0; 4];
                let _ = stream.read_exact(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    Front { address, name: "payments.shop.svc".to_owned() }
}

#[tokio::test]
async fn leaf_is_seen_even_if_it_is_refused() {
    let (root, sightings) = (authority("first").unwrap(), Arc::new(Sightings::default()));
    let hour = Duration::from_secs(3600);
    let request = LeafRequest { lifetime: hour, ..leaf_request(PAYMENTS) };
    let expired = root.issue(&request, SystemTime::now() - 2 * hour).unwrap();
    sightings.forbid(fingerprint(&expired.certificate_der));
    let front = serve(&expired, &root).await;
    let me = Passport::new(&issue(&root, "outside").unwrap(), &[&root], &sightings).unwrap();
    assert!(me.dial(&front, &[]).await.is_err());
    assert_eq!(sightings.wrongly_served(), 1);
}

#[tokio::test]
async fn passport_is_accepted_under_a_trusted_root_and_refused_under_another() {
    let sightings = Arc::new(Sightings::default());
    let (first, second) = (authority("first").unwrap(), authority("second").unwrap());
    let leaf = issue(&first, PAYMENTS).unwrap();
    sightings.expect(fingerprint(&leaf.certificate_der));
    let front = serve(&leaf, &second).await;
    let under = |root| Passport::new(&issue(root, "outside").unwrap(), &[&first], &sightings).unwrap();
    assert!(under(&second).is_accepted(&front).await);
    assert!(under(&first).is_refused(&front).await);
    assert!(!under(&first).is_accepted(&front).await);
    assert!(!under(&second).is_refused(&front).await);
    assert_eq!(sightings.wrongly_served(), 0);
}

#[tokio::test]
async fn nobody_listening_is_no_refusal() {
    let sightings = Arc::new(Sightings::default());
    let root = authority("first").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let front = Front { address, name: "payments.shop.svc".to_owned() };
    let me = Passport::new(&issue(&root, "outside").unwrap(), &[&root], &sightings).unwrap();
    assert!(!me.is_refused(&front).await);
    assert!(!me.is_accepted(&front).await);
}
