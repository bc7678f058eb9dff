//! The self-check: after every swap the controller connects to its own webhook, as a client would, and records
//! whether the new leaf is presented. "Served" means that, not "loaded".

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hotcert_tls::{HandshakeError, SELF_CHECK_ALPN, Snapshot, Snapshots};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tracing::{error, info};

use crate::api::duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The result of the last self-check. `None` until there was one.
pub type SelfCheck = Option<Result<(), String>>;

/// Checks what `listener` presents after every swap, and again every second while it fails. Runs until dropped.
pub async fn run(mut snapshots: Snapshots, listener: SocketAddr, last: watch::Sender<SelfCheck>) {
    while let Some(mut snapshot) = snapshots.changed().await {
        while let Err(cause) = check(&snapshot, listener).await {
            // If a newer leaf was presented, that does not mean that the leaf is not served.
            if snapshots.load().is_none_or(|latest| latest.generation == snapshot.generation) {
                error!(generation = snapshot.generation, cause, "the self-check of the listener failed");
                last.send_replace(Some(Err(cause)));
            }
            // Until the leaf is served, or a newer one is published.
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                newer = snapshots.changed() => match newer {
                    Some(newer) => snapshot = newer,
                    None => return,
                }
            }
        }
        let swapped = snapshot.delivery.changed_at;
        let took = swapped.and_then(|swapped| SystemTime::now().duration_since(swapped).ok());
        info!(
            generation = snapshot.generation,
            sha256 = snapshot.identity.leaf.sha256,
            swap_to_served_seconds = took.map(|took| took.as_secs_f64()),
            "identity served"
        );
        last.send_replace(Some(Ok(())));
    }
}

/// The handshake accepts the leaf of `snapshot` and no other.
async fn check(snapshot: &Snapshot, listener: SocketAddr) -> Result<(), String> {
    let client = snapshot.self_check_config(&[SELF_CHECK_ALPN]).map_err(|error| error.to_string())?;
    let dial = async {
        let socket = TcpStream::connect(listener).await?;
        let name = ServerName::try_from("self-check.hotcert.internal").map_err(io::Error::other)?;
        TlsConnector::from(client).connect(name, socket).await
    };
    match tokio::time::timeout(TIMEOUT, dial).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            Err(format!("handshake with {listener} failed: {}", HandshakeError::WithServer(error).cause()))
        }
        Err(_) => Err(format!("no handshake with {listener} within {}", duration::format(TIMEOUT))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use hotcert_tls::Reloader;
    use hotcert_tls::credential::Credential;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::leaf_request::LeafRequest;
    use crate::controller::http::only_get;
    use crate::controller::https_server::{HttpsServer, Limits};
    use crate::controller::listener::Bound;
    use crate::controller::receiver_http::LIMITS;
    use crate::controller::refusals::Refusals;
    use crate::pki::authority::{Authority, AuthorityRequest};

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DEADLINE: Duration = Duration::from_secs(20);

    pub fn credential() -> Credential {
        let now = SystemTime::now();
        let request =
            AuthorityRequest { common_name: "root".into(), lifetime: HOUR, ..AuthorityRequest::default() };
        let authority = Authority::create(&request, now).unwrap();
        let names = vec!["webhook.test".to_owned()];
        let request = LeafRequest {
            common_name: "leaf".into(),
            dns_names: names,
            lifetime: HOUR,
            ..LeafRequest::default()
        };
        let leaf = authority.issue(&request, now).unwrap();
        Credential::pem(
            leaf.certificate_pem.into_bytes(),
            leaf.key_pem.as_bytes().to_vec(),
            authority.certificate_pem().as_bytes().to_vec(),
        )
    }

    #[tokio::test]
    async fn a_listener_is_checked_until_it_serves_the_leaf_and_after_every_swap() {
        let (mut source, identities) = Reloader::builder().without_client_certificates().start_manually();
        source.offer(&credential());
        let bound = Bound::bind("webhook", "127.0.0.1:0".parse().unwrap()).unwrap();
        let (report, mut last) = watch::channel(None);
        tokio::spawn(run(identities.snapshots(), bound.dial_address(), report));
        timeout(DEADLINE, last.changed()).await.unwrap().unwrap();
        let failed = last.borrow().clone().unwrap().unwrap_err();
        assert!(failed.starts_with("handshake with 127.0.0.1:"), "{failed}");

        let limits = Limits { http2: true, ..LIMITS };
        let https = Arc::new(HttpsServer::new(
            &identities,
            limits,
            |_| true,
            Refusals::default().of("webhook"),
            CancellationToken::new(),
        ));
        let clients = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&clients);
        let serve = move |socket, from| {
            let counted = Arc::clone(&counted);
            let count = move |_| {
                counted.fetch_add(1, Relaxed);
            };
            Arc::clone(&https).serve_connection(socket, from, count, async |_, _, _| only_get())
        };
        bound.serve(CancellationToken::new(), serve).unwrap();
        timeout(DEADLINE, last.wait_for(|check| *check == Some(Ok(())))).await.unwrap().unwrap();
        source.offer(&credential());
        timeout(DEADLINE, last.changed()).await.unwrap().unwrap();
        assert_eq!(*last.borrow(), Some(Ok(())));
        assert_eq!(clients.load(Relaxed), 0, "the self-check is no client");
    }
}
