//! What inbound and outbound HTTP share: hop-by-hop headers, bodies, error responses, and serving a
//! connection that closes when the tracker asks it to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::connection::tracker::{CloseStage, Connection};
use crate::proxy::request_error::RequestError;

/// Longer request heads are refused, and no more is buffered for an HTTP peer that does not read.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Names the reason of an error response of the agent's own, as its body does.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-hotcert-error");

/// A body that is passed on, or one of the agent's own.
pub type ProxyBody<B> = Either<B, Full<Bytes>>;

/// The agent's own response, in one line of text.
pub fn error_response<B>(error: &RequestError) -> Response<ProxyBody<B>> {
    let line: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut response = Response::new(Either::Right(Full::from(format!("hotcert-agent: {line}\n"))));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(&line) {
        headers.insert(ERROR_HEADER, value);
    }
    response
}

/// Removes the hop-by-hop headers, and those that the sender lists in `Connection`.
pub fn remove_hop_headers(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name| !is_end_to_end(name))
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

/// Sends a body of unknown length in chunks, whatever the method: the HTTP/1 client would omit the body
/// of a GET.
pub fn frame_body(headers: &mut HeaderMap, has_body: bool) {
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Listed in `Connection` or not, these define where a message goes and where it ends.
fn is_end_to_end(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A body that holds `guard` until it has ended or is dropped.
pub struct NotifyOnEnd<G> {
    body: Incoming,
    guard: Option<G>,
    /// Called with the guard when the body ends properly.
    on_end: fn(G),
}

impl<G> NotifyOnEnd<G> {
    pub fn new(body: Incoming, guard: G, on_end: fn(G)) -> Self {
        let mut this = Self { body, guard: Some(guard), on_end };
        this.notify_if_ended();
        this
    }

    fn notify_if_ended(&mut self) {
        if self.body.is_end_stream()
            && let Some(guard) = self.guard.take()
        {
            (self.on_end)(guard);
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
                    (this.on_end)(guard);
                }
            }
            Poll::Ready(Some(Ok(_))) => this.notify_if_ended(),
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

/// Serves a connection to its end, and shuts it down gracefully when the tracker asks for it.
pub async fn serve_until_closed<C: GracefulConnection>(
    mut connection: Pin<Box<C>>,
    tracked: Arc<Connection>,
) {
    let mut shutting_down = false;
    std::future::poll_fn(|cx| {
        tracked.wake_on_close(cx.waker());
        if !shutting_down && tracked.close_stage() >= C::SHUTDOWN_AT {
            shutting_down = true;
            connection.as_mut().shut_down();
        }
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// A hyper server connection.
pub trait GracefulConnection: Future {
    /// The stage at which it shuts down. HTTP/2 can announce "no new requests" without a race, and does so
    /// early; HTTP/1 announces it in its next response, and shuts down if none comes.
    const SHUTDOWN_AT: CloseStage;

    fn shut_down(self: Pin<&mut Self>);
}

impl<I, B, S> GracefulConnection for hyper::server::conn::http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const SHUTDOWN_AT: CloseStage = CloseStage::Finish;

    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S, E> GracefulConnection for hyper::server::conn::http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    const SHUTDOWN_AT: CloseStage = CloseStage::LastRequest;

    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_are_removed_however_they_are_declared() {
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
