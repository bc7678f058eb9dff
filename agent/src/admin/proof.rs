//! The proof listener: mTLS from the same snapshot as everything else, on a port of its own, so that the
//! control plane can make a handshake with the pod itself and verify what it serves and whom it trusts.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tracing::debug;

use crate::admin::connections::AdminConnections;
use crate::admin::health::Health;
use crate::admin::http::{only_get, serve_http, text, typed};
use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::handshake::{self, Accepted};
use hotcert_tls::{Acceptor, Activity};

pub struct ProofListener {
    health: Health,
    acceptor: Acceptor,
    connections: AdminConnections,
}

impl ProofListener {
    pub fn new(health: Health, connections: AdminConnections) -> Arc<Self> {
        let context = &health.context;
        let acceptor = context
            .identities
            .acceptor(["http/1.1"])
            // Always mTLS, whatever the inbound listeners require.
            .require_client_certificate()
            .handshake_timeout(context.timeouts.handshake)
            // Places are those of the connections. What fails here costs inbound clients nothing.
            .max_handshakes(usize::MAX);
        Arc::new(Self { health, acceptor, connections })
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        self.connections
            .serve(from, |activity| Box::pin(self.serve_connection(socket, from, activity)))
            .await;
    }

    async fn serve_connection(&self, socket: TcpStream, from: SocketAddr, activity: Activity) {
        match handshake::accept(socket, from, &self.acceptor).await {
            Ok(Accepted::SelfCheck) => self.count(HandshakeResult::SelfCheck),
            Ok(Accepted::Client(client)) => {
                self.count(HandshakeResult::Ok);
                serve_http(client.stream, activity, |request| self.answer(request)).await;
            }
            Err(error) => {
                self.count(HandshakeResult::Failed(error.failure()));
                debug!(%from, %error, "proof handshake failed");
            }
        }
    }

    fn count(&self, result: HandshakeResult) {
        self.health.context.handshakes.count(HandshakeSide::Proof, result);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/proof") => {
                // Blocking: the first time under a bundle, the chain of every peer is verified.
                let health = self.health.clone();
                match tokio::task::spawn_blocking(move || health.proof_json()).await {
                    Ok(proof) => typed(StatusCode::OK, "application/json", format!("{proof:#}\n")),
                    Err(_) => {
                        text(StatusCode::INTERNAL_SERVER_ERROR, "the proof failed; see the log\n".into())
                    }
                }
            }
            (&Method::GET, _) => text(StatusCode::NOT_FOUND, "not found; try /proof\n".into()),
            _ => only_get(),
        }
    }
}
