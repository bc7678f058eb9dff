//! The server of one HTTP/1 connection, from a client over TLS or from the app in plain text. Requests are answered in
//! order, one at a time, in the task of the connection. Between requests it holds no buffer and no request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use super::Malformed;
use super::answering::Answer;
use super::framing::{self, Read};
use super::head;
use super::input::{Input, NoHead, PartialHead};
use super::output::Output;
use crate::connection::memory::Chunk;
use crate::connection::tracker::{CloseStage, Connection};
use crate::proxy::http::content::Content;
use crate::proxy::http::interim::{Interim, Interims};
use crate::proxy::http::response_body::ProxyBody;
use crate::proxy::http::upgraded::{Switch, Upgraded};

/// How long a client that still sends is read from when its connection is to close, so that it sees the answer before it
/// sees a reset (RFC 9112, 9.6), and after how long a silence it is not.
const LINGER_FOR: Duration = Duration::from_secs(30);
const LINGER_IN_SILENCE: Duration = Duration::from_secs(2);
/// The same in bytes: what an app refuses is rarely larger.
const LINGER_BYTES: usize = 256 << 20;

/// A client that has ended its side may wait for its answer, or may have gone, which looks the same until something is
/// written to it: it is waited for as long, while nothing comes for it.
const ENDED_FOR: Duration = Duration::from_secs(10);

pub struct Server<S> {
    pub(super) stream: S,
    pub(super) input: Input,
    pub(super) output: Output<Chunk>,
    pub(super) interims: Arc<Interims>,
    /// The entry in the tracker that may ask it to close.
    pub(super) tracked: Option<Arc<Connection>>,
    /// Runs while a client that has ended its side is waited for.
    pub(super) patience: Option<Pin<Box<Sleep>>>,
}

/// What follows the answer to a request.
pub(super) enum Next {
    Request,
    /// The connection closes: the client has sent all that it will.
    Close,
    /// The connection closes, and the client may still be sending.
    Linger,
    /// The connection fails: the answer is not whole.
    Abort,
    Switch(Switch),
}

/// Serves a connection until it ends or has switched to another protocol. `refuse` answers what could not be read.
pub async fn serve<S, R, F>(
    stream: S,
    tracked: Option<Arc<Connection>>,
    refuse: impl Fn(Malformed) -> Response<ProxyBody>,
    respond: R,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<Content>, Interim) -> F,
    F: Future<Output = Answer> + Send + 'static,
{
    let (input, output) = (Input::new(), Output::new());
    let mut server = Server { stream, input, output, interims: Arc::default(), tracked, patience: None };
    loop {
        let next = match server.head().await {
            Ok(head) => match read(&head) {
                // Boxed, so that an idle connection has no room for requests.
                Ok((request, read)) => {
                    drop(head);
                    Box::pin(server.exchange(request, read, &refuse, &respond)).await
                }
                Err(reason) => Box::pin(server.refuse(head::method(&head), refuse(reason))).await,
            },
            Err((NoHead::Malformed(reason), method)) => Box::pin(server.refuse(method, refuse(reason))).await,
            Err((NoHead::Ended { .. } | NoHead::Failed(_), _)) => Next::Close,
        };
        match next {
            Next::Request => {}
            Next::Close => return server.shut_down().await,
            Next::Linger => return Box::pin(server.linger()).await,
            Next::Abort => return,
            Next::Switch(switch) => {
                switch.done(Upgraded::new(Box::new(server.stream), server.input.bytes));
                return;
            }
        }
    }
}

fn read(head: &Bytes) -> Result<(Request<()>, Read), Malformed> {
    let mut request = head::request(head)?;
    let read = framing::of_request(&mut request)?;
    Ok((request, read))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// The next head, or why there is none, and the method that has come of it.
    async fn head(&mut self) -> Result<Bytes, (NoHead, Method)> {
        if !self.input.bytes.is_empty()
            && let Some(tracked) = &self.tracked
        {
            // It has begun to come with the request before it.
            tracked.record_received();
        }
        let mut partial = PartialHead::default();
        let head = poll_fn(|cx| self.poll_head(cx, &mut partial)).await;
        head.map_err(|none| (none, head::method(partial.begun(&self.input.bytes))))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, partial: &mut PartialHead) -> Poll<Result<Bytes, NoHead>> {
        let stage = self.stage(cx);
        let head = self.input.poll_head(cx, &mut self.stream, partial, head::may_begin_request);
        // A request that has come is answered.
        if head.is_pending()
            && stage >= CloseStage::Finish
            && partial.is_empty()
            && self.input.bytes.is_empty()
        {
            return Poll::Ready(Err(NoHead::Ended { partial: false }));
        }
        head
    }

    /// What the tracker asks for. The task of `cx` is woken when that changes.
    pub(super) fn stage(&self, cx: &Context<'_>) -> CloseStage {
        let Some(tracked) = &self.tracked else { return CloseStage::None };
        tracked.wake_on_close(cx.waker());
        tracked.close_stage()
    }

    /// Whether a client that has ended its side has been waited for long enough.
    pub(super) fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.input.ended {
            return false;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(ENDED_FOR)));
        patience.as_mut().poll(cx).is_ready()
    }

    async fn shut_down(mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
    }

    /// Reads what a client sends that has been told that its connection closes, for a while.
    async fn linger(mut self) {
        // It is no request that is slow to come.
        let _in_flight = self.tracked.as_ref().map(|tracked| tracked.begin_request());
        let end = Instant::now() + LINGER_FOR;
        let shut_down = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx));
        if !matches!(timeout_at(end, shut_down).await, Ok(Ok(()))) {
            return;
        }
        let mut left = LINGER_BYTES;
        while !self.input.ended && left > 0 && Instant::now() < end {
            left = left.saturating_sub(self.input.bytes.len());
            self.input.bytes = Bytes::new();
            let reading = pin!(poll_fn(|cx| self.input.poll_read(cx, &mut self.stream)));
            if !matches!(timeout(LINGER_IN_SILENCE, reading).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}
