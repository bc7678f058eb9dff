//! Interim responses (1xx) of the app or the server on their way to the client. A connection has one queue for all of
//! its requests, so that a request costs nothing for those that it does not get. The task of a request puts them in,
//! and takes them out to write them before it waits.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Response, StatusCode};

use super::headers::remove_hop_headers;

/// What the interim responses to one request may take, in bytes of their fields: no flow control holds them up, whatever
/// the client reads. Those beyond it are dropped, which they may be (RFC 9110, 15.2).
const MAX_BYTES: usize = 16 * 1024;
/// What each counts beside its fields.
const BYTES_EACH: usize = 512;

/// The interim responses that one connection is about to send.
#[derive(Default)]
pub struct Interims {
    count: AtomicUsize,
    /// By the number of the stream.
    queue: Mutex<Vec<(u32, Response<()>)>>,
}

/// Takes the interim responses to one request. Used in the task that polls the response, which looks into the queue when
/// it has polled it.
pub struct Interim {
    /// `None`: they are dropped.
    to: Option<(Arc<Interims>, u32)>,
    left: usize,
}

impl Interims {
    /// For the request of a `stream`, which tells it from others of the connection.
    pub fn of(self: &Arc<Self>, stream: u32) -> Interim {
        Interim { to: Some((Arc::clone(self), stream)), left: MAX_BYTES }
    }

    /// The next one to send.
    pub fn take(&self, stream: u32) -> Option<Response<()>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let at = queue.iter().position(|(of, _)| *of == stream)?;
        self.count.fetch_sub(1, Relaxed);
        Some(queue.remove(at).1)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Response<()>)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interim {
    /// For a client that is to get none, as one of HTTP/1.0.
    pub fn none() -> Self {
        Self { to: None, left: 0 }
    }

    /// Passes one on, without what ends at this agent. A 101 is not an interim response of a request, and is dropped.
    /// A 100 passes whether the client waits for it or not (RFC 9110, 15.2).
    pub fn send(&mut self, status: StatusCode, mut headers: HeaderMap) {
        let Some((interims, stream)) = &self.to else { return };
        let passes = match status {
            StatusCode::SWITCHING_PROTOCOLS => false,
            status => status.is_informational(),
        };
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let Some(left) = self.left.checked_sub(BYTES_EACH + bytes).filter(|_| passes) else { return };
        self.left = left;
        remove_hop_headers(&mut headers);
        // There is no content that it could be the length of.
        headers.remove(CONTENT_LENGTH);
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        interims.lock().push((*stream, response));
        interims.count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::{CONNECTION, HeaderValue, LINK};

    use super::*;

    #[test]
    fn each_request_gets_its_own_in_order() {
        let interims: Arc<Interims> = Arc::default();
        let (mut one, mut other) = (interims.of(1), interims.of(3));
        let mut headers = HeaderMap::new();
        headers.insert(LINK, HeaderValue::from_static("</a>"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        one.send(StatusCode::CONTINUE, HeaderMap::new());
        other.send(StatusCode::CONTINUE, HeaderMap::new());
        other.send(StatusCode::EARLY_HINTS, headers);
        one.send(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new());
        one.send(StatusCode::PROCESSING, HeaderMap::new());
        assert_eq!(interims.take(3).unwrap().status(), StatusCode::CONTINUE);
        let hints = interims.take(3).unwrap();
        assert_eq!((hints.status(), hints.headers().len()), (StatusCode::EARLY_HINTS, 1));
        assert_eq!(hints.headers()[LINK], "</a>");
        assert!(interims.take(3).is_none());
        assert_eq!(interims.take(1).unwrap().status(), StatusCode::CONTINUE);
        assert_eq!(interims.take(1).unwrap().status(), StatusCode::PROCESSING);
        assert!(interims.take(1).is_none());
    }

    #[test]
    fn what_would_fill_the_memory_is_dropped() {
        let interims: Arc<Interims> = Arc::default();
        let mut endless = interims.of(1);
        for _ in 0..1_000_000 {
            endless.send(StatusCode::EARLY_HINTS, HeaderMap::new());
        }
        assert_eq!(interims.lock().len(), MAX_BYTES / BYTES_EACH);
    }
}
