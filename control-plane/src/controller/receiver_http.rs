//! The HTTP side of incoming notifications: `POST /notifications/SENDER`, and the public keys that verify
//! outgoing ones.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hotcert_tls::Peer;
use http_body_util::Full;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::http::{only_get, text, typed, with_retry};
use super::https_server::Limits;
use super::request_body::{Body, BodyError, BodyLimits};
use crate::notify::receiver::{Message, RECORD_TIMEOUT, Receiver, Rejection};
use crate::store::Store;

pub const LIMITS: Limits = Limits {
    // An HTTP/2 connection without streams has no idle timeout.
    http2: false,
    // Senders connect when they have something to send, and may be far away.
    first_request: Duration::from_secs(5),
    idle: Duration::from_secs(30),
    head: 16 << 10,
    bodies: BodyLimits {
        // Events about a hundred certificates, twice over.
        one: 256 << 10,
        all: 16 << 20,
        arrival: Duration::from_secs(5),
    },
};
/// Seconds after which a message that was not recorded is to be sent again. Senders that try a few times, within
/// seconds, spread them so over the time that another leader takes.
const RETRY_SECONDS: &str = "10";
const PATH: &str = "/notifications/";
const KEYS_PATH: &str = "/notifications/keys";

pub struct ReceiverHandler<S> {
    pub receiver: Receiver<S>,
}

impl<S: Store> ReceiverHandler<S> {
    /// That of a sender in the settings: what names another is refused unread.
    pub fn wants_body(&self, request: &Parts) -> bool {
        let sender = request.uri.path().strip_prefix(PATH);
        request.method == Method::POST
            && sender.is_some_and(|sender| self.receiver.config().senders.contains_key(sender))
    }

    pub async fn handle(
        &self,
        request: Parts,
        body: Result<Body, BodyError>,
        peer: Option<Arc<Peer>>,
    ) -> Response<Full<Bytes>> {
        let path = request.uri.path();
        if path == KEYS_PATH {
            return if request.method == Method::GET { self.keys() } else { only_get() };
        }
        let Some(sender) = path.strip_prefix(PATH) else {
            return text(StatusCode::NOT_FOUND, format!("not found; notifications go to {PATH}SENDER\n"));
        };
        if request.method != Method::POST {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                self.receiver.reject(sender, error.reason(), &error, SystemTime::now());
                return with_retry(rejected(error.status(), error.reason(), &error.to_string()));
            }
        };
        let client = peer.as_ref().map(|peer| &peer.names);
        let message = Message { headers: &request.headers, body: &body, client };
        let received = self.receiver.receive(sender, message, SystemTime::now());
        match timeout(RECORD_TIMEOUT, received).await {
            Ok(Ok(accepted)) => typed(StatusCode::OK, "application/json", format!("{}\n", accepted.json())),
            Ok(Err(rejection)) => rejection_response(&rejection),
            Err(_) => {
                let rejection = Rejection::Timeout(RECORD_TIMEOUT);
                self.receiver.reject(sender, rejection.reason(), &rejection, SystemTime::now());
                rejection_response(&rejection)
            }
        }
    }

    fn keys(&self) -> Response<Full<Bytes>> {
        let keys = json!({ "keys": self.receiver.config().public_keys });
        typed(StatusCode::OK, "application/json", format!("{keys}\n"))
    }
}

/// The sender is not authenticated: the response says what was wrong, and nothing about this controller.
fn rejection_response(rejection: &Rejection) -> Response<Full<Bytes>> {
    let message = match rejection {
        Rejection::Store(_) | Rejection::NoKeys(_) | Rejection::Timeout(_) => {
            "the request could not be recorded: send it again".to_owned()
        }
        Rejection::Instance(_) | Rejection::Token(_) => "the message could not be verified".to_owned(),
        other => other.to_string(),
    };
    let mut response = rejected(rejection.status(), rejection.reason(), &message);
    if matches!(rejection.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}

fn rejected(status: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({ "outcome": "refused", "reason": reason, "message": message });
    typed(status, "application/json", format!("{body}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn what_is_to_be_sent_again_says_when() {
        let missing = || StoreError::Missing("keyring".into());
        for (rejection, retry) in [
            (Rejection::Store(missing()), true),
            (Rejection::NoKeys("connection refused".into()), true),
            (Rejection::Timeout(RECORD_TIMEOUT), true),
            (Rejection::RateLimited, true),
            (Rejection::Credential, false),
            (Rejection::UnknownEvent("sold".into()), false),
        ] {
            let response = rejection_response(&rejection);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), retry, "{rejection}");
        }
    }
}
