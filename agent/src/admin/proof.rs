//! The proof listener: mTLS from the same snapshot as everything else, on its own port, so that the
//! control context can shake hands with the pod itself and see what it serves and whom it trusts.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tracing::debug;

use super::{MAX_CONNECTIONS, only_get, serve_http, text, typed};
use crate::admin::health::Health;
use crate::connection::handshake;
use crate::connection::limiter::Limiter;

pub struct ProofListener {
    health: Health,
    limiter: Limiter,
}

impl ProofListener {
    pub fn new(health: Health) -> Arc<Self> {
        Arc::new(Self { health, limiter: Limiter::new(MAX_CONNECTIONS) })
    }

    pub async fn connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        self.limiter.hold(Box::pin(self.serve(socket, from))).await;
    }

    async fn serve(&self, socket: TcpStream, from: SocketAddr) {
        let context = &self.health.context;
        let choose: handshake::SelectConfig = |configs| configs.proof.as_ref();
        match handshake::accept(socket, &context.current, choose, &context.peers, context.timeouts.handshake)
            .await
        {
            Ok(accepted) if accepted.self_check => context.handshakes.count("proof", "self_check"),
            Ok(accepted) => {
                context.handshakes.count("proof", "ok");
                serve_http(accepted.stream, |request| self.answer(request)).await;
            }
            Err(error) => {
                context.handshakes.count("proof", error.result());
                debug!(%from, %error, "proof handshake failed");
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/proof") => {
                // The first time under a bundle, every peer's chain is verified.
                let health = self.health.clone();
                match tokio::task::spawn_blocking(move || health.proof_json()).await {
                    Ok(proof) => typed(StatusCode::OK, "application/json", format!("{proof:#}\n")),
                    Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no answer; see the log\n".into()),
                }
            }
            (&Method::GET, _) => text(StatusCode::NOT_FOUND, "not here; try /proof\n".into()),
            _ => only_get(),
        }
    }
}
