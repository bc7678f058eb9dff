//! The admission webhook: what API servers ask over HTTPS, judged by the pure function, answered.
//!
//! API servers keep idle HTTP/1 connections and do not send a pod's creation again when one of them
//! breaks under it. So no connection is closed between requests but by the API server itself; one
//! that is to end is told so in its next response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotcert_agent::admin::{text, typed};
use hotcert_agent::runtime::shutdown::Stop;
use hotcert_agent::tls::snapshot::Current;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::https::{BodyError, Https, Limits};
use super::metrics::Counts;
use super::sidecar::Decision;
use crate::controller::admission_review;
use crate::inject::pod::Context;
use crate::inject::sidecar_kind::SidecarKind;

const LIMITS: Limits = Limits {
    http2: true,
    // Longer than an API server keeps an idle connection (90 s).
    idle: Duration::from_secs(180),
    // Less than the API server waits, so that it hears why.
    request: Duration::from_secs(4),
    head: 64 << 10,
    body: 4 << 20,
    bodies: 64 << 20,
};

/// The pods that each entry of the webhook configuration selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// They ask for themselves.
    Pods,
    /// Their namespace asks for them.
    Namespaces,
}

impl Entry {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/mutate/pods" => Some(Self::Pods),
            "/mutate/namespaces" => Some(Self::Namespaces),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }

    /// The label of the namespace, as the entry's namespaceSelector has found it.
    fn namespace_label(self) -> Option<&'static str> {
        (self == Self::Namespaces).then_some("enabled")
    }
}

pub struct Webhook {
    https: Arc<Https>,
    agent_image: String,
    sidecar: watch::Receiver<Option<Decision>>,
    counts: Counts,
}

impl Webhook {
    pub fn new(
        current: Current,
        agent_image: String,
        sidecar: watch::Receiver<Option<Decision>>,
        counts: Counts,
        end: Stop,
    ) -> Arc<Self> {
        Arc::new(Self { https: Arc::new(Https::new(current, LIMITS, end)), agent_image, sidecar, counts })
    }

    pub fn close_after_next_response(&self) {
        self.https.close_after_next_response();
    }

    /// Waits until no connection is left.
    pub async fn ended(&self) {
        self.https.ended().await;
    }

    pub async fn connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let webhook = Arc::clone(&self);
        let answer = move |request, _peer| {
            let webhook = Arc::clone(&webhook);
            async move { webhook.answer(request).await }
        };
        Arc::clone(&self.https)
            .connection(socket, from, |result| self.counts.connection(result), answer)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (request, body) = request.into_parts();
        // Whatever the answer: a client that is still sending would not hear it.
        let body = self.https.read(body).await;
        match (Entry::of(request.uri.path()), request.method) {
            (None, _) => text(
                StatusCode::NOT_FOUND,
                "not here; the webhook is /mutate/pods and /mutate/namespaces\n".into(),
            ),
            (Some(_), method) if method != Method::POST => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                response
            }
            (Some(entry), _) => {
                let (outcome, response) = self.admit(entry, body);
                self.counts.admission(entry.as_str(), outcome);
                response
            }
        }
    }

    fn admit(&self, entry: Entry, body: Result<Vec<u8>, BodyError>) -> (&'static str, Response<Full<Bytes>>) {
        let body = match body {
            Ok(body) => body,
            Err(error) => return ("malformed", text(error.status(), format!("{error}\n"))),
        };
        let request = match admission_review::Request::parse(&body) {
            Ok(request) => request,
            Err(error) => {
                warn!(entry = entry.as_str(), %error, "webhook called with something else than a pod");
                return ("malformed", text(StatusCode::BAD_REQUEST, format!("{error}\n")));
            }
        };
        let sidecar = self.sidecar.borrow().as_ref().map_or(SidecarKind::Container, |decision| decision.kind);
        let answered = request.answer(&Context {
            namespace: request.namespace(),
            namespace_label: entry.namespace_label(),
            agent_image: &self.agent_image,
            sidecar,
            is_job: false,
        });
        match &answered.refusal {
            Some(refusal) => {
                info!(namespace = request.namespace(), pod = request.name(), refusal, "pod refused")
            }
            None => debug!(namespace = request.namespace(), pod = request.name(), answered.outcome, "pod"),
        }
        (answered.outcome, typed(StatusCode::OK, "application/json", answered.review.to_string()))
    }
}
