//! The body of a request on its way through the agent. The request is in flight until it has ended. A small body can be
//! sent again, if it was not looked at.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::content::{BodyError, Content};
use super::http1::expects_continue;
use super::response_timeout::UploadClock;
use crate::connection::memory::UploadMemory;
use crate::connection::tracker::InFlight;
use crate::proxy::access_log::Transferred;

/// Longer bodies are not kept for a second try, nor waited for when nobody will get them.
const SMALL: usize = 64 * 1024;
/// How long an answer waits for a small body that nobody will get: some clients take an answer for a failure if it
/// comes before they have sent all.
const DISCARD_WITHIN: Duration = Duration::from_millis(100);

/// The body of a request, from a client or the app.
pub struct RequestBody {
    body: Option<Content>,
    in_flight: Option<InFlight>,
    /// Of the memory budget, until it has ended.
    memory: Option<UploadMemory>,
    /// Applied to the trailers.
    filter: fn(&mut HeaderMap),
    /// What was taken from `body` already, and is given again.
    again: VecDeque<Bytes>,
    /// What its bytes are counted on.
    counted: Option<Arc<Transferred>>,
    /// Told of what is taken.
    upload: Option<Arc<UploadClock>>,
}

/// What was taken from a body, as long as it is small.
#[derive(Default)]
pub struct Taken {
    chunks: VecDeque<Bytes>,
    length: usize,
}

impl Taken {
    pub fn add(&mut self, chunk: &Bytes) {
        self.length += chunk.len();
        match self.length <= SMALL {
            true => self.chunks.push_back(chunk.clone()),
            false => self.chunks.clear(),
        }
    }
}

impl RequestBody {
    pub fn new(body: Content, in_flight: Option<&InFlight>, filter: fn(&mut HeaderMap)) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self { body: Some(body), in_flight: in_flight.map(InFlight::share), filter, ..Self::empty() }
    }

    pub fn empty() -> Self {
        Self {
            body: None,
            in_flight: None,
            memory: None,
            filter: |_| (),
            again: VecDeque::new(),
            counted: None,
            upload: None,
        }
    }

    /// Holds this until it has ended.
    pub fn with_memory(self, memory: Option<UploadMemory>) -> Self {
        Self { memory, ..self }
    }

    /// Counts its bytes for the access log, if there is one.
    pub fn counted(self, counted: Option<Arc<Transferred>>) -> Self {
        Self { counted, ..self }
    }

    /// Has `clock` told whenever something is taken.
    pub fn watch(&mut self, clock: &Arc<UploadClock>) {
        self.upload = Some(Arc::clone(clock));
    }

    /// A body that was taken whole, once more. `None` if it was not small.
    pub fn again(taken: Taken) -> Option<Self> {
        (taken.length <= SMALL).then(|| Self { again: taken.chunks, ..Self::empty() })
    }

    /// As [`Self::discard`], for a request that is refused. Boxed like all that is rare, so that it takes no room in
    /// each request.
    ///
    /// A client that waits for a 100 is not told to send what nobody wants.
    pub async fn discard_refused(head: &HeaderMap, body: Content) {
        if !expects_continue(head) {
            Box::pin(Self::new(body, None, |_| ()).discard()).await;
        }
    }

    /// Takes what a client is about to send although nobody will get it.
    pub async fn discard(mut self) {
        if self.is_end_stream() {
            return;
        }
        let take = async {
            let mut length = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                length += frame.data_ref().map_or(0, Bytes::len);
                if length > SMALL {
                    break;
                }
            }
        };
        let _ = timeout(DISCARD_WITHIN, take).await;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(chunk) = this.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if let Some(upload) = &this.upload {
            upload.asked(polled.is_pending());
        }
        let mut frame = ready!(polled);
        let ended = match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    (this.filter)(trailers);
                } else if let (Some(counted), Some(data)) = (&this.counted, frame.data_ref()) {
                    counted.received.fetch_add(data.len() as u64, Relaxed);
                }
                body.is_end_stream()
            }
            _ => true,
        };
        if ended {
            (this.in_flight, this.memory) = (None, None);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) if self.again.is_empty() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.again.iter().map(|chunk| chunk.len() as u64).sum()),
        }
    }
}
