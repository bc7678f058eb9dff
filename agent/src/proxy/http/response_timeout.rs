//! The time that the app or a server may take to begin its response, if the operator has set one (`--response-timeout`). It
//! begins when the request has been sent: while a body is still being sent, the other side may wait for the rest of it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use hyper::Request;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::request_body::RequestBody;

/// When something of a request's body was last taken.
pub struct UploadClock {
    begun: Instant,
    /// In milliseconds since then.
    moved: AtomicU64,
    /// It is the client that has not sent more.
    waits: AtomicBool,
}

impl UploadClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), moved: AtomicU64::new(0), waits: AtomicBool::new(false) })
    }

    /// More of the body was asked for, and was there, or is not `pending` any more.
    pub fn asked(&self, pending: bool) {
        self.waits.store(pending, Relaxed);
        if !pending {
            self.moved();
        }
    }

    fn moved(&self) {
        let since = self.begun.elapsed().as_millis();
        self.moved.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Relaxed))
    }
}

/// The deadline of one response, which moves on as long as the request does.
pub struct ResponseDeadline {
    within: Duration,
    upload: Arc<UploadClock>,
}

impl ResponseDeadline {
    /// Of a request that is about to be sent.
    pub fn new(within: Duration, request: &mut Request<RequestBody>) -> Self {
        let upload = UploadClock::new();
        if !request.body().is_end_stream() {
            request.body_mut().watch(&upload);
        }
        Self { within, upload }
    }

    /// Of a request without a body.
    pub fn without_body(within: Duration) -> Self {
        Self { within, upload: UploadClock::new() }
    }

    /// `None` if there is no response in time.
    pub async fn wait<F: Future>(&self, response: F) -> Option<F::Output> {
        let mut response = pin!(response);
        let mut deadline = self.upload.last() + self.within;
        loop {
            match timeout_at(deadline, &mut response).await {
                Ok(response) => return Some(response),
                // The client has not sent the rest yet.
                Err(_) if self.upload.waits.load(Relaxed) => deadline = Instant::now() + self.within,
                Err(_) => {
                    let next = self.upload.last() + self.within;
                    if next <= deadline {
                        return None;
                    }
                    deadline = next;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_time_begins_when_the_request_has_been_sent() {
        let deadline = ResponseDeadline::without_body(Duration::from_millis(400));
        let (begun, upload) = (Instant::now(), Arc::clone(&deadline.upload));
        let sending = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                upload.asked(false);
            }
        });
        assert_eq!(deadline.wait(pending::<()>()).await, None);
        assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
        sending.await.unwrap();
        let deadline = ResponseDeadline::without_body(Duration::from_secs(20));
        assert_eq!(deadline.wait(async { 1 }).await, Some(1));
    }
}
