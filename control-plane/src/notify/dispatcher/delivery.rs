//! One delivery: a POST of one event to one subscription, in its format, and signed if it has keys.

use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};

use crate::external::http_client::{HttpError, HttpRequest, HttpResponse};
use crate::notify::format::{Message, Notice};
use crate::notify::subscription::Subscription;
use crate::outbox::DeliveryOutcome;

/// Receivers are expected to acknowledge first and work later.
const TIMEOUT: Duration = Duration::from_secs(15);

pub async fn deliver(subscription: &Subscription, source: &str, notice: &Notice) -> DeliveryOutcome {
    match subscription.format.message(source, notice, SystemTime::now()) {
        // The body of the response is not read.
        Ok(message) => outcome(subscription, &send(subscription, &notice.event.id, message, 0).await),
        Err(error) => DeliveryOutcome::Failed {
            why: format!("cannot make the message: {error}"),
            retry_after: None,
            is_destination_failing: false,
        },
    }
}

/// `max_body`: bytes of the response's body; with 0 it is not read.
pub async fn send(
    subscription: &Subscription,
    id: &str,
    Message { body, content_type }: Message,
    max_body: usize,
) -> Result<HttpResponse, HttpError> {
    let Subscription { endpoint, format, signer, headers, .. } = subscription;
    let mut request = HttpRequest::new(Method::POST)
        .header("content-type", content_type)?
        .header("user-agent", concat!("hotcert/", env!("CARGO_PKG_VERSION")))?;
    if let Some(path) = format.path() {
        request = request.path(format!("{}{path}", endpoint.path().trim_end_matches('/')));
    }
    for (name, value) in headers {
        request = request.header(name, value)?;
    }
    if !signer.is_empty() {
        for (name, value) in signer.headers(id, &body, SystemTime::now()) {
            request = request.header(name, &value)?;
        }
    }
    endpoint.send(request.body(body), TIMEOUT, max_body).await
}

pub fn outcome(subscription: &Subscription, sent: &Result<HttpResponse, HttpError>) -> DeliveryOutcome {
    match sent {
        Ok(response) if response.status.is_success() => DeliveryOutcome::Delivered,
        Ok(HttpResponse { status: StatusCode::GONE, .. }) => DeliveryOutcome::Gone,
        Ok(HttpResponse { status, retry_after, .. }) => DeliveryOutcome::Failed {
            why: format!("{} answered {status}", subscription.endpoint.origin()),
            retry_after: *retry_after,
            is_destination_failing: is_destination_failing(*status),
        },
        Err(error) => DeliveryOutcome::Failed {
            why: error.to_string(),
            retry_after: None,
            is_destination_failing: true,
        },
    }
}

/// Whether the same would happen with every other event. Any other status may be about the content of this one.
fn is_destination_failing(status: StatusCode) -> bool {
    status.is_server_error()
        || status.is_redirection()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
        )
}
