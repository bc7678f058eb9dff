//! One delivery: a signed POST of one event to one subscription.

use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};

use crate::api::notification::Event;
use crate::external::http_client::{HttpError, HttpRequest, HttpResponse};
use crate::notify::subscription::Subscription;
use crate::outbox::DeliveryOutcome;

/// Receivers are expected to acknowledge first and work later.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

pub async fn deliver(subscription: &Subscription, event: &Event, body: Vec<u8>) -> DeliveryOutcome {
    match post(subscription, event, body).await {
        Ok(response) if response.status.is_success() => DeliveryOutcome::Delivered,
        Ok(HttpResponse { status: StatusCode::GONE, .. }) => DeliveryOutcome::Gone,
        Ok(HttpResponse { status, retry_after, .. }) => {
            let why = format!("{} answered {status}", subscription.endpoint.origin());
            DeliveryOutcome::Failed {
                why,
                retry_after,
                is_destination_failing: is_destination_failing(status),
            }
        }
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

async fn post(subscription: &Subscription, event: &Event, body: Vec<u8>) -> Result<HttpResponse, HttpError> {
    let mut request = HttpRequest::new(Method::POST)
        .header("content-type", CONTENT_TYPE)?
        .header("user-agent", concat!("hotcert/", env!("CARGO_PKG_VERSION")))?;
    for (name, value) in &subscription.headers {
        request = request.header(name, value)?;
    }
    for (name, value) in subscription.signer.headers(&event.id, &body, SystemTime::now()) {
        request = request.header(name, &value)?;
    }
    // The body of the response is not read.
    subscription.endpoint.send(request.body(body), TIMEOUT, 0).await
}
