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
use hyper::header::{ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::admission_review::{AdmissionOutcome, AdmissionRequest};
use super::http::{text, typed, with_retry};
use super::https_server::{HttpsServer, Limits};
use super::refusals::ListenerRefusals;
use super::request_body::{Body, BodyError, BodyLimits};
use super::webhook_path::WebhookPath;
use crate::controller::native_sidecar::SidecarDecision;
use crate::controller::webhook_counters::WebhookCounters;
use crate::inject::pod::Context;
use crate::inject::sidecar_kind::SidecarKind;

const LIMITS: Limits = Limits {
    http2: true,
    // As `idle`: of the connections that an API server opens at once, some get their first request later. Those of
    // strangers give way to others'.
    first_request: IDLE,
    idle: IDLE,
    head: 64 << 10,
    bodies: BodyLimits {
        one: 4 << 20,
        all: 64 << 20,
        // Less than the API server's timeout, so that it receives the error.
        arrival: Duration::from_secs(4),
    },
};
/// Longer than an API server keeps an idle connection (90 s).
const IDLE: Duration = Duration::from_secs(180);

fn wants_body(request: &Parts) -> bool {
    request.method == Method::POST && WebhookPath::parse(request.uri.path()).is_some()
}

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
        refusals: ListenerRefusals,
        end: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            https: Arc::new(HttpsServer::new(identities, LIMITS, wants_body, refusals, end)),
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
        let handle = move |request, body, _peer| std::future::ready(webhook.handle(&request, body));
        Arc::clone(&self.https)
            .serve_connection(socket, from, |result| self.counters.connection(result), handle)
            .await;
    }

    fn handle(&self, request: &Parts, body: Result<Body, BodyError>) -> Response<Full<Bytes>> {
        match (WebhookPath::parse(request.uri.path()), &request.method) {
            (None, _) => text(
                StatusCode::NOT_FOUND,
                "not found; the paths of the webhook are /mutate/pods and /mutate/namespaces\n".into(),
            ),
            (Some(_), method) if *method != Method::POST => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                response
            }
            (Some(path), _) => {
                let body = match body {
                    Ok(body) => body,
                    Err(error) => {
                        // What there is no memory for is counted by the listener: it says nothing of the request.
                        if error.status() != StatusCode::SERVICE_UNAVAILABLE {
                            self.counters.admission(path, AdmissionOutcome::Malformed);
                        }
                        return with_retry(text(error.status(), format!("{error}\n")));
                    }
                };
                let (outcome, response) = self.admit(path, &body);
                self.counters.admission(path, outcome);
                response
            }
        }
    }

    fn admit(&self, path: WebhookPath, body: &[u8]) -> (AdmissionOutcome, Response<Full<Bytes>>) {
        let request = match AdmissionRequest::parse(body) {
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
