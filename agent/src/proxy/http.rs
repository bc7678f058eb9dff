//! What both HTTP paths have in common: which headers end at a proxy, bodies, plain answers, and
//! driving a server connection that obeys the tracker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Response, StatusCode};

use crate::connection::tracker::{CloseStage, Connection};

/// Heads beyond this are refused, and no more is held for an HTTP peer that does not read.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Says, beside the body, why the agent itself answered.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-hotcert-error");

/// A body that is passed on, or one of our own.
pub type ProxyBody<B> = Either<B, Full<Bytes>>;

/// An answer of the agent's own, in one line of text.
pub fn answer<B>(status: StatusCode, text: &str) -> Response<ProxyBody<B>> {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut response = Response::new(Either::Right(Full::from(format!("hotcert-agent: {line}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(&line) {
        headers.insert(ERROR_HEADER, value);
    }
    response
}

/// Takes out the headers that are about one hop, and those that the sender declares to be.
pub fn remove_hop_headers(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name| !is_of_the_message(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [TRANSFER_ENCODING, UPGRADE, TE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// Has a body of unknown length sent in chunks, whatever the method: the HTTP/1 client would leave
/// out that of a GET.
pub fn frame_body(headers: &mut HeaderMap, has_body: bool) {
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Named in Connection or not, these say where a message goes and where it ends.
fn is_of_the_message(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Holds `guard` until the body has gone through, or is given up.
pub struct NotifyOnEnd<G> {
    body: Incoming,
    guard: Option<G>,
    /// Called with the guard when the body came to its proper end.
    at_end: fn(G),
}

impl<G> NotifyOnEnd<G> {
    pub fn new(body: Incoming, guard: G, at_end: fn(G)) -> Self {
        let mut this = Self { body, guard: Some(guard), at_end };
        this.end_if_done();
        this
    }

    fn end_if_done(&mut self) {
        if self.body.is_end_stream()
            && let Some(guard) = self.guard.take()
        {
            (self.at_end)(guard);
        }
    }
}

impl<G: Unpin> Body for NotifyOnEnd<G> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => {
                if let Some(guard) = this.guard.take() {
                    (this.at_end)(guard);
                }
            }
            Poll::Ready(Some(Ok(_))) => this.end_if_done(),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Drives a server connection to its end, asking it to finish when the tracker says so.
pub async fn drive<C: Drivable>(mut connection: Pin<Box<C>>, tracker: Arc<Connection>) {
    let mut asked = false;
    std::future::poll_fn(|cx| {
        tracker.wake_on_close(cx.waker());
        if !asked && tracker.close_stage() >= C::FINISH_AT {
            asked = true;
            connection.as_mut().finish();
        }
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// A hyper server connection.
pub trait Drivable: Future {
    /// The order at which it is asked to finish: HTTP/2 can say "no new requests" without a race
    /// and is asked early; HTTP/1 says it in its next response, and is asked when that does not come.
    const FINISH_AT: CloseStage;

    fn finish(self: Pin<&mut Self>);
}

impl<I, B, S> Drivable for hyper::server::conn::http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const FINISH_AT: CloseStage = CloseStage::Finish;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S, E> Drivable for hyper::server::conn::http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    const FINISH_AT: CloseStage = CloseStage::LastRequest;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_hop_end_here_whoever_declares_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remove_hop_headers(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-kept"]);
    }
}
