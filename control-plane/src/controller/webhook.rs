//! The admission webhook: HTTPS around the pure function of `inject`.
//!
//! API servers keep idle HTTP/1 connections and do not retry the creation of a pod when one of them breaks.
//! So only the API server closes a connection between requests; one that is to end says so in its next
//! response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotcert_tls::Identities;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::admission_review::{AdmissionOutcome, AdmissionRequest};
use super::http::{text, typed};
use super::https_server::{BodyError, HttpsServer, Limits};
use super::webhook_path::WebhookPath;
use crate::controller::native_sidecar::SidecarDecision;
use crate::controller::webhook_counters::WebhookCounters;
use crate::inject::pod::Context;
use crate::inject::sidecar_kind::SidecarKind;

const LIMITS: Limits = Limits {
    http2: true,
    // Longer than an API server keeps an idle connection (90 s).
    idle: Duration::from_secs(180),
    // Less than the API server's timeout, so that it receives the error.
    request: Duration::from_secs(4),
    head: 64 << 10,
    body: 4 << 20,
    bodies: 64 << 20,
};

pub struct Webhook {
    https: Arc<HttpsServer>,
    agent_image: String,
    sidecar: watch::Receiver<Option<SidecarDecision>>,
    counters: WebhookCounters,
}

impl Webhook {
    pub fn new(
        identities: &Identities,
        agent_image: String,
        sidecar: watch::Receiver<Option<SidecarDecision>>,
        counters: WebhookCounters,
        end: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            https: Arc::new(HttpsServer::new(identities, LIMITS, end)),
            agent_image,
            sidecar,
            counters,
        })
    }

    pub fn close_after_next_response(&self) {
        self.https.close_after_next_response();
    }

    /// Waits until every connection has ended.
    pub async fn drained(&self) {
        self.https.drained().await;
    }

    pub async fn serve_connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let webhook = Arc::clone(&self);
        let handle = move |request, _peer| {
            let webhook = Arc::clone(&webhook);
            async move { webhook.handle(request).await }
        };
        Arc::clone(&self.https)
            .serve_connection(socket, from, |result| self.counters.connection(result), handle)
            .await;
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (request, body) = request.into_parts();
        // In any case: a client that is still sending would not receive the response.
        let body = self.https.read(body).await;
        match (WebhookPath::parse(request.uri.path()), request.method) {
            (None, _) => text(
                StatusCode::NOT_FOUND,
                "not found; the paths of the webhook are /mutate/pods and /mutate/namespaces\n".into(),
            ),
            (Some(_), method) if method != Method::POST => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                response
            }
            (Some(path), _) => {
                let (outcome, response) = self.admit(path, body);
                self.counters.admission(path, outcome);
                response
            }
        }
    }

    fn admit(
        &self,
        path: WebhookPath,
        body: Result<Vec<u8>, BodyError>,
    ) -> (AdmissionOutcome, Response<Full<Bytes>>) {
        let body = match body {
            Ok(body) => body,
            Err(error) => return (AdmissionOutcome::Malformed, text(error.status(), format!("{error}\n"))),
        };
        let request = match AdmissionRequest::parse(&body) {
            Ok(request) => request,
            Err(error) => {
                warn!(webhook = path.as_str(), %error, "the request is not an AdmissionReview of a pod");
                return (AdmissionOutcome::Malformed, text(StatusCode::BAD_REQUEST, format!("{error}\n")));
            }
        };
        let sidecar = self.sidecar.borrow().as_ref().map_or(SidecarKind::Container, |decision| decision.kind);
        let response = request.respond(&Context {
            namespace: request.namespace(),
            namespace_label: path.namespace_label(),
            agent_image: &self.agent_image,
            sidecar,
            is_job: false,
        });
        match &response.denial {
            Some(denial) => {
                info!(namespace = request.namespace(), pod = request.name(), reason = denial, "pod denied")
            }
            None => debug!(
                namespace = request.namespace(),
                pod = request.name(),
                outcome = response.outcome.as_str(),
                "pod admitted"
            ),
        }
        (response.outcome, typed(StatusCode::OK, "application/json", response.review.to_string()))
    }
}
