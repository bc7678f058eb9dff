//! The self-check: after every swap the agent connects to its own listener, as a client would, and records
//! the leaf that is presented. "Served" means that, not "loaded".

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_duration;
use rustls::CommonState;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::{error, info};

use crate::admin::agent_status::{AgentStatus, SelfCheck, ServedLeaf};
use hotcert_tls::{HandshakeError, SELF_CHECK_ALPN, Snapshot, Snapshots};

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The listener that presents the identity.
#[derive(Clone, Copy)]
pub enum SelfCheckTarget {
    Inbound(SocketAddr),
    /// In a pod without inbound routes.
    Proof(SocketAddr),
}

/// Runs until dropped.
pub async fn run(mut current: Snapshots, listener: SelfCheckTarget, status: AgentStatus) {
    while let Some(mut snapshot) = current.changed().await {
        loop {
            let result = check(&snapshot, listener).await;
            let failed = result.is_err();
            let superseded = current.load().is_some_and(|latest| latest.generation > snapshot.generation);
            // A newer leaf was presented: that does not mean that the leaf is not served.
            if !(failed && superseded) {
                record(&snapshot, result, &status);
            }
            if !failed {
                break;
            }
            // Until the leaf is served, or a newer one is published.
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                newer = current.changed() => match newer {
                    Some(newer) => snapshot = newer,
                    None => return,
                }
            }
        }
    }
}

async fn check(snapshot: &Snapshot, listener: SelfCheckTarget) -> Result<Option<String>, String> {
    let listener = match listener {
        SelfCheckTarget::Inbound(address) if snapshot.server_config(&[]).is_some() => address,
        SelfCheckTarget::Proof(address) if snapshot.mutual_server_config(&[]).is_some() => address,
        // The identity cannot be served.
        _ => return Ok(None),
    };
    let client = snapshot.self_check_config(&[SELF_CHECK_ALPN]).map_err(|error| error.to_string())?;
    let dial = async {
        let socket = TcpStream::connect(listener).await?;
        let name = ServerName::try_from("self-check.hotcert.internal").map_err(std::io::Error::other)?;
        TlsConnector::from(client).connect(name, socket).await
    };
    match tokio::time::timeout(TIMEOUT, dial).await {
        Ok(Ok(stream)) => Ok(presented(stream.get_ref().1).map(|leaf| hex::encode(Sha256::digest(leaf)))),
        Ok(Err(error)) => {
            Err(format!("handshake with {listener} failed: {}", HandshakeError::WithServer(error).cause()))
        }
        Err(_) => Err(format!("no handshake with {listener} within {}", format_duration(TIMEOUT))),
    }
}

fn presented(connection: &CommonState) -> Option<&CertificateDer<'static>> {
    connection.peer_certificates()?.first()
}

fn record(snapshot: &Arc<Snapshot>, result: Result<Option<String>, String>, status: &AgentStatus) {
    let at = SystemTime::now();
    let took = snapshot
        .delivery
        .changed_at
        .and_then(|changed| at.duration_since(changed).ok())
        .map(|took| took.as_secs_f64());
    match &result {
        Ok(Some(sha256)) => {
            if let Some(seconds) = took {
                status.swap_to_served.observe(seconds);
            }
            info!(generation = snapshot.generation, sha256, swap_to_served_seconds = took, "identity served");
        }
        Ok(None) => {}
        Err(cause) => {
            error!(generation = snapshot.generation, cause, "the self-check of the listener failed")
        }
    }
    let result =
        result.map(|sha256| sha256.map(|sha256| ServedLeaf { sha256, swap_to_served_seconds: took }));
    status
        .update(|report| report.self_check = Some(SelfCheck { generation: snapshot.generation, at, result }));
}

#[cfg(test)]
mod tests;
