//! The server of one HTTP/2 connection, from a client over TLS or from the app in plain text. The task of the connection
//! takes requests and moves frames; each request has a task of its own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection as Http2, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use hyper::body::Body as _;
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::Content;
use super::date;
use super::frame_limit::FrameLimited;
use super::h2_body::BodySender;
use super::h2_stream::{Download, StreamIo};
use super::interim::{Interim, Interims};
use super::response_body::ProxyBody;
use super::upgraded::{Switch, Upgraded, upgrade};
use super::{
    CONNECTION_WINDOW, MAX_HEAD_BYTES, MAX_STREAM_ERRORS, MAX_STREAMS, MAX_UNSEEN_RESETS, STREAM_WINDOW,
};
use crate::connection::memory::Chunk;
use crate::connection::tracker::{CloseStage, Connection};

/// One connection. Completes when it has ended.
pub struct Server<S, R> {
    state: State<S>,
    tracked: Option<Arc<Connection>>,
    /// It was told that the connection is to end.
    closing: bool,
    respond: R,
    interims: Arc<Interims>,
}

enum State<S> {
    Handshaking(Handshake<FrameLimited<S>, Chunk>),
    Serving(Http2<FrameLimited<S>, Chunk>),
}

impl<S, R, F> Server<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<Content>, Interim) -> F + Unpin,
    F: Future<Output = Result<Response<ProxyBody>, h2::Error>> + Send + 'static,
{
    /// `respond` fails with the reset that the client is to get.
    pub fn new(stream: S, tracked: Option<Arc<Connection>>, respond: R) -> Self {
        let stream = FrameLimited::server(stream, tracked.clone());
        let handshake = Builder::new()
            .max_concurrent_streams(MAX_STREAMS as u32)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_send_buffer_size(MAX_HEAD_BYTES)
            .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
            .max_local_error_reset_streams(Some(MAX_STREAM_ERRORS))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_connect_protocol()
            .handshake(stream);
        let state = State::Handshaking(handshake);
        Self { state, tracked, closing: false, respond, interims: Arc::default() }
    }

    /// Begins what a request needs.
    fn begin(&self, request: Request<RecvStream>, mut reply: SendResponse<Chunk>) {
        let (mut head, stream) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let mut tunnel = None;
        let content = if head.method == Method::CONNECT {
            if head.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
                // What follows belongs to the tunnel (RFC 9110, 9.3.6), or is a body.
                reply.send_reset(Reason::PROTOCOL_ERROR);
                return;
            }
            let (switch, coming) = upgrade();
            head.extensions.insert(coming);
            tunnel = Some(Tunnel { switch, stream });
            Content::Own(None)
        } else {
            Content::Http2(Download::new(stream, None))
        };
        let request = Request::from_parts(head, content);
        let number = reply.stream_id().as_u32();
        let interim = self.interims.of(number);
        // Boxed, so that it is gone while the body of the response is sent.
        let response = Box::pin((self.respond)(request, interim));
        let interims = Arc::clone(&self.interims);
        tokio::spawn(answer(response, Reply { reply, number, is_head, interims, tunnel }));
    }
}

impl<S, R, F> Future for Server<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<Content>, Interim) -> F + Unpin,
    F: Future<Output = Result<Response<ProxyBody>, h2::Error>> + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(tracked) = &this.tracked {
            tracked.wake_on_close(cx.waker());
        }
        loop {
            match &mut this.state {
                State::Handshaking(handshake) => match ready!(Pin::new(handshake).poll(cx)) {
                    Ok(connection) => this.state = State::Serving(connection),
                    Err(_) => return Poll::Ready(()),
                },
                State::Serving(connection) => {
                    // HTTP/2 can say "no new requests" without a race, and so does it early.
                    let is_due = |tracked: &Arc<Connection>| tracked.close_stage() >= CloseStage::LastRequest;
                    if !this.closing && this.tracked.as_ref().is_some_and(is_due) {
                        this.closing = true;
                        connection.graceful_shutdown();
                    }
                    match ready!(connection.poll_accept(cx)) {
                        Some(Ok((request, reply))) => this.begin(request, reply),
                        // It has ended, in order or not: its requests notice it themselves.
                        Some(Err(_)) | None => return Poll::Ready(()),
                    }
                }
            }
        }
    }
}

/// Where the response to one request goes.
struct Reply {
    reply: SendResponse<Chunk>,
    /// Of the stream.
    number: u32,
    /// To a HEAD: without content, whatever the response has.
    is_head: bool,
    interims: Arc<Interims>,
    tunnel: Option<Tunnel>,
}

/// What a CONNECT gets when it succeeds.
struct Tunnel {
    switch: Switch,
    /// What the client sends in it.
    stream: RecvStream,
}

async fn answer<F>(response: Pin<Box<F>>, mut reply: Reply)
where
    F: Future<Output = Result<Response<ProxyBody>, h2::Error>>,
{
    let mut response = response;
    let Some(result) = poll_fn(|cx| reply.poll_response(cx, response.as_mut())).await else { return };
    drop(response);
    let body = match result {
        Ok(response) => reply.send(response),
        Err(error) => {
            reply.reply.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
            return;
        }
    };
    drop(reply);
    if let Some(mut body) = body {
        let _ = poll_fn(|cx| body.poll(cx, |_| ())).await;
    }
}

impl Reply {
    /// The response. `None` if the client does not want it any more. What comes before it is sent at once.
    fn poll_response<F: Future>(
        &mut self,
        cx: &mut Context<'_>,
        response: Pin<&mut F>,
    ) -> Poll<Option<F::Output>> {
        let response = response.poll(cx);
        while let Some(interim) = self.interims.take(self.number) {
            // An error means that the stream has ended, which is noticed below.
            let _ = self.reply.send_informational(interim);
        }
        match response {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.reply.poll_reset(cx).map(|_| None),
        }
    }

    /// Sends the head, and returns the content that is to follow.
    fn send(&mut self, response: Response<ProxyBody>) -> Option<BodySender<ProxyBody>> {
        let (mut head, body) = response.into_parts();
        date::add(&mut head.headers);
        let tunnel = self.tunnel.take().filter(|_| head.status.is_success());
        if tunnel.is_some() {
            head.headers.remove(CONTENT_LENGTH);
        }
        let has_no_content =
            self.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ends = tunnel.is_none() && (has_no_content || body.is_end_stream());
        let sent = self.reply.send_response(Response::from_parts(head, ()), ends);
        let stream = sent.inspect_err(|_| self.reply.send_reset(Reason::INTERNAL_ERROR)).ok()?;
        match tunnel {
            Some(Tunnel { switch, stream: received }) => {
                switch.done(Upgraded::new(Box::new(StreamIo::new(stream, received)), Bytes::new()));
                None
            }
            None => (!ends).then(|| BodySender::new(body, stream, Reason::INTERNAL_ERROR)),
        }
    }
}
