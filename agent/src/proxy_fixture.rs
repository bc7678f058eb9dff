//! Parts for unit tests: roots, identities, a published snapshot, and a proxy context around it.

#![allow(clippy::unwrap_used)]

pub mod http;
mod identity;

use std::sync::Arc;
use std::time::Duration;

use hotcert_log::LogLimiter;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::admin::metrics;
use crate::connection::handshake::result::HandshakeCounters;
use crate::connection::memory::MemoryBudget;
use crate::connection::tasks::ConnectionTasks;
use crate::connection::tracker::{ConnectionTracker, Limits};
use crate::proxy::authorization::NotAllowed;
use crate::proxy::context::{ProxyContext, RequestCounters, Timeouts};
use crate::proxy::inbound::TrustedClients;
use crate::proxy::inbound::app_connections::AppConnections;
use crate::proxy::outbound::addresses::FailedAddresses;
use crate::proxy::request_latency::RequestLatencies;
pub use identity::{
    Issued, NAME, Pair, Publisher, Root, identity, identity_of, leaf, leaf_for, leaf_from, publish,
    publisher, root,
};

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

const MEMORY: usize = 128 << 20;

pub fn limits() -> Limits {
    Limits {
        max_connections: 100,
        kept_for_each_side: 0,
        idle: DEADLINE,
        max_age: DEADLINE,
        max_age_grace: DEADLINE,
        request_head: DEADLINE,
        first_request: DEADLINE,
        drain_after: DEADLINE,
        root_drain: DEADLINE,
    }
}

/// A context without an identity, and its publisher.
pub fn context() -> (Publisher, Arc<ProxyContext>) {
    let publisher = publisher();
    let (_, inbound_bytes, outbound_bytes) = metrics::byte_counters();
    let memory = MemoryBudget::new(MEMORY, 0);
    let context = ProxyContext {
        identities: publisher.identities.clone(),
        tracker: ConnectionTracker::new(limits()),
        handshakes: HandshakeCounters::default(),
        requests: RequestCounters::new(),
        latencies: RequestLatencies::default(),
        access_log: None,
        not_allowed: NotAllowed::default(),
        inbound_bytes,
        outbound_bytes,
        timeouts: Timeouts { handshake: DEADLINE, connect: DEADLINE, response: None },
        failed_addresses: FailedAddresses::default(),
        hsts: None,
        trusted_clients: TrustedClients::default(),
        app_connections: Arc::new(AppConnections::new(100, true)),
        inbound_tasks: ConnectionTasks::new(),
        outbound_tasks: ConnectionTasks::new(),
        log_limiter: LogLimiter::default(),
        app_memory: memory.of_app(),
        memory,
    };
    (publisher, Arc::new(context))
}

/// Two ends of one TCP connection: the one that connected, and the one that was accepted.
pub async fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connected, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// A TLS client that trusts `root`, with a certificate of `issuer`.
pub fn client_config(root: &Root, issuer: &Root) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let Pair { certificate, key } = leaf(issuer);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap()
}

/// The same without a certificate.
pub fn anonymous_client_config(root: &Root) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub async fn connect(config: ClientConfig, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), socket).await
}

/// Waits until `condition` holds.
pub async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the condition holds before the deadline");
}
