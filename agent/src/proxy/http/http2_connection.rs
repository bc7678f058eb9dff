//! One HTTP/2 connection to the app or to a server, which carries as many requests as the other side allows.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicUsize};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Ping;
use hyper::body::Body as _;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::{Attached, ClientError, SendError};
use super::content::Content;
use super::frame_limit::FrameLimited;
use super::h2_stream::{Download, StreamIo, Upload};
use super::headers::to_http2;
use super::http1::client::Returned;
use super::interim::Interim;
use super::keep_alive::{self, Heard};
use super::request_body::RequestBody;
use super::{CONNECTION_WINDOW, MAX_HEAD_BYTES, MAX_STREAM_ERRORS, MAX_STREAMS, STREAM_WINDOW};
use crate::connection::tracker::Connection;

/// A handle on a connection; cheap to clone.
#[derive(Clone)]
pub struct Http2Connection {
    sender: h2::client::SendRequest<Bytes>,
    scheme: Scheme,
    /// For requests that name none.
    authority: Authority,
    attached: Arc<Attached>,
    in_use: Arc<AtomicUsize>,
    state: Arc<AtomicU8>,
}

const OPEN: u8 = 0;
/// It takes no more requests: it has ended, or the other side has said so.
const CLOSED: u8 = 1;
/// It was closed because the other side did not answer.
const UNRESPONSIVE: u8 = 2;

/// A request in flight on an HTTP/2 connection.
pub struct InUse(Arc<AtomicUsize>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The window of a stream to an app with so many requests: what the app sends into it is buffered when the client does
/// not read, so that all of them together may be no larger than for a few. `now`: the present one, which stays until it
/// is clearly too small.
fn app_window(requests: usize, now: u32) -> u32 {
    let fitting = |requests| match requests {
        0..=4 => STREAM_WINDOW,
        5..=16 => STREAM_WINDOW / 4,
        _ => STREAM_WINDOW / 16,
    };
    fitting(requests).min(now.max(fitting(2 * requests)))
}

impl Http2Connection {
    /// Returns once the other side has shown that it speaks HTTP/2 and said how many requests it takes.
    /// `authority` is for requests that name none.
    pub async fn handshake<S>(
        io: S,
        scheme: Scheme,
        authority: Authority,
        attached: Attached,
        within: Duration,
    ) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard: Arc<Heard> = Arc::default();
        let io = FrameLimited::client(io, attached.tracked().cloned(), Arc::clone(&heard));
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(MAX_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(MAX_HEAD_BYTES)
            .max_local_error_reset_streams(Some(MAX_STREAM_ERRORS))
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .handshake::<_, Bytes>(io)
            .await?;
        let mut ping_pong = connection.ping_pong();
        let state = Arc::new(AtomicU8::new(OPEN));
        let ended = Arc::clone(&state);
        let alive = CancellationToken::new();
        let ends = alive.clone().drop_guard();
        let attached = Arc::new(attached);
        let held = Arc::clone(&attached);
        let in_use: Arc<AtomicUsize> = Arc::default();
        let requests = matches!(*held, Attached::App { .. }).then(|| Arc::clone(&in_use));
        let driver = tokio::spawn(async move {
            let mut window = STREAM_WINDOW;
            let _ = poll_fn(|cx| {
                if let Some(requests) = &requests {
                    let fitting = app_window(requests.load(Relaxed), window);
                    // It fails while a change is not acknowledged, and is tried again at the next request.
                    if fitting != window && connection.set_initial_window_size(fitting).is_ok() {
                        window = fitting;
                    }
                }
                Pin::new(&mut connection).poll(cx)
            })
            .await;
            ended.fetch_max(CLOSED, Relaxed);
            drop((held, ends));
        });
        if let Some(ping_pong) = &mut ping_pong {
            let pong = ping_pong.ping(Ping::opaque());
            let no_answer = || io::Error::new(io::ErrorKind::TimedOut, "no answer to a PING");
            match timeout(within, pong).await {
                Ok(Ok(_)) => {}
                // It goes away before its first request, as after a new leaf: that is HTTP/2, and the request finds so.
                Ok(Err(_)) if goes_away(&sender).await => {}
                Ok(Err(error)) => return Err(ClientError::NoHttp2(io::Error::other(error))),
                Err(_) => return Err(ClientError::NoHttp2(no_answer())),
            }
        }
        if sender.current_max_send_streams() == 0 {
            return Err(ClientError::NoHttp2(io::Error::other("it allows no requests")));
        }
        if let Some(ping_pong) = ping_pong {
            let (state, requests, attached) =
                (Arc::clone(&state), Arc::clone(&in_use), Arc::clone(&attached));
            let unresponsive =
                keep_alive::until_unresponsive(ping_pong, heard, move || requests.load(Relaxed) > 0);
            tokio::spawn(alive.run_until_cancelled_owned(async move {
                unresponsive.await;
                state.store(UNRESPONSIVE, Relaxed);
                if let Some(tracked) = attached.tracked() {
                    tracked.close_unresponsive();
                }
                driver.abort();
            }));
        }
        Ok(Self { sender, scheme, authority, attached, in_use, state })
    }

    /// A place for one more request, if it is open and has room.
    pub fn reserve(&self) -> Option<InUse> {
        let room = self.sender.current_max_send_streams().min(MAX_STREAMS);
        (self.in_use.load(Relaxed) < room).then(|| self.place())
    }

    /// A place for one more request, whether there is room or not.
    pub fn place(&self) -> InUse {
        self.in_use.fetch_add(1, Relaxed);
        InUse(Arc::clone(&self.in_use))
    }

    pub fn takes_requests(&self, generation: u64) -> bool {
        !self.is_closed() && self.attached.takes_requests(generation)
    }

    pub fn is_closed(&self) -> bool {
        self.state.load(Relaxed) != OPEN
    }

    /// A handle for one request, if the connection takes it.
    async fn sender(&self) -> Result<h2::client::SendRequest<Bytes>, h2::Error> {
        let ready = self.sender.clone().ready().await;
        ready.inspect_err(|_| {
            self.state.fetch_max(CLOSED, Relaxed);
        })
    }

    pub fn is_idle(&self) -> bool {
        self.in_use.load(Relaxed) == 0
    }

    /// Its entry in the tracker, if it is one to a server.
    pub fn tracked(&self) -> Option<&Connection> {
        self.attached.tracked().map(|connection| &**connection)
    }

    pub fn takes_extended_connect(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    pub async fn send(
        &self,
        request: Box<Request<RequestBody>>,
        interim: &mut Interim,
    ) -> Result<Response<Content>, SendError> {
        let mut sender = match self.sender().await {
            Ok(sender) => sender,
            Err(error) => {
                return Err(SendError { error: error.into(), request: Returned::Unsent(request) });
            }
        };
        let (mut head, body) = (*request).into_parts();
        to_http2(&mut head, &self.scheme, &self.authority);
        let bodiless = body.is_end_stream();
        let sent = Request::from_parts(head.clone(), ());
        let (mut response, stream) = match sender.send_request(sent, bodiless) {
            Ok(sent) => sent,
            Err(error) => {
                let request = Box::new(Request::from_parts(head, RequestBody::empty()));
                return Err(SendError { error: error.into(), request: Returned::Sent(request) });
            }
        };
        let mut upload = (!bodiless).then(|| Upload::new(body, stream));
        let mut again = bodiless.then(RequestBody::empty);
        // Both at once: the response may come before the request has ended, and most requests have ended before it.
        let response = poll_fn(|cx| {
            if let Some(sending) = &mut upload
                && let Poll::Ready(whole) = Pin::new(&mut *sending).poll(cx)
            {
                again = sending.again().filter(|_| whole);
                upload = None;
            }
            while let Poll::Ready(Some(Ok(early))) = response.poll_informational(cx) {
                let (head, ()) = early.into_parts();
                interim.send(head.status, head.headers);
            }
            Pin::new(&mut response).poll(cx)
        });
        match response.await.map_err(ClientError::from) {
            Ok(response) => {
                let ended = upload.map(|upload| {
                    let (ended, response_ended) = oneshot::channel();
                    tokio::spawn(upload.finish_unless_cancelled(response_ended));
                    ended
                });
                Ok(response.map(|stream| Content::Http2(Download::new(stream, ended))))
            }
            Err(error) => {
                let is_unresponsive = self.state.load(Relaxed) == UNRESPONSIVE;
                let error = if is_unresponsive { ClientError::Unresponsive } else { error };
                let request = match again.filter(|_| error.is_unprocessed()) {
                    Some(body) => Returned::Unsent(Box::new(Request::from_parts(head, body))),
                    None => Returned::Sent(Box::new(Request::from_parts(head, RequestBody::empty()))),
                };
                Err(SendError { error, request })
            }
        }
    }

    /// Sends an extended CONNECT. If the answer is a success, the stream carries bytes from then on. If the
    /// connection was closed before, `is_closed` says so, and nothing was sent.
    pub async fn connect(
        &self,
        request: Request<()>,
    ) -> Result<(Response<Content>, Option<StreamIo>), SendError> {
        let mut sender = self.sender().await.map_err(SendError::sent)?;
        let (mut head, ()) = request.into_parts();
        to_http2(&mut head, &self.scheme, &self.authority);
        let (response, send) =
            sender.send_request(Request::from_parts(head, ()), false).map_err(SendError::sent)?;
        let (head, receive) = response.await.map_err(SendError::sent)?.into_parts();
        Ok(match head.status.is_success() {
            true => (Response::from_parts(head, Content::Own(None)), Some(StreamIo::new(send, receive))),
            false => (Response::from_parts(head, Content::Http2(Download::new(receive, None))), None),
        })
    }
}

/// Whether the other side has said that it takes no more requests, for no error.
async fn goes_away(sender: &h2::client::SendRequest<Bytes>) -> bool {
    let ready = sender.clone().ready().await;
    ready.is_err_and(|error| ClientError::from(error).is_unprocessed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::connection::tracker::PeerId;
    use crate::proxy::inbound::app_connections::AppConnections;

    #[tokio::test]
    async fn connection_that_goes_away_before_its_first_request_gives_the_request_back() {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            // SETTINGS, and a GOAWAY without an error; the PING is not answered.
            let frames = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            server.write_all(&frames).await.unwrap();
            server.shutdown().await.unwrap();
            server.read_to_end(&mut Vec::new()).await
        });
        let within = Duration::from_secs(10);
        let share = Arc::new(AppConnections::new(1, true)).share(PeerId { identity: 1, source: 2 });
        let attached = Attached::App { _permit: share.acquire(within).await.unwrap() };
        let authority = Authority::from_static("a.test");
        let connection =
            Http2Connection::handshake(client, Scheme::HTTP, authority, attached, within).await.unwrap();
        let request = Box::new(Request::new(RequestBody::empty()));
        let SendError { error, request } =
            connection.send(request, &mut Interim::none()).await.err().expect("no response");
        assert!(
            matches!(request, Returned::Unsent(_)) && error.is_unprocessed() && connection.is_closed(),
            "{error}"
        );
    }

    #[test]
    fn windows_of_many_requests_are_no_larger_together_than_those_of_a_few() {
        let mut window = STREAM_WINDOW;
        for requests in 0..=MAX_STREAMS {
            window = app_window(requests, window);
            assert!(requests * window as usize <= 8 * STREAM_WINDOW as usize, "{requests}: {window}");
        }
        assert_eq!(app_window(10, window), window, "it does not follow each request");
        assert_eq!(app_window(8, window), STREAM_WINDOW / 4);
        assert_eq!(app_window(2, window), STREAM_WINDOW);
    }
}
