//! The client of one HTTP/1 connection, to the app or to a server. It has no task: who sends a request drives the
//! connection, and who reads its response. Between requests it holds no buffer; whether the other side has closed it, or
//! has said what it was not asked for, is seen before the next request.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::Body as _;
use hyper::header::UPGRADE;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use super::Error;
use super::encode::{self, Connection};
use super::feed::expects_continue;
use super::framing::{self, Read};
use super::head;
use super::input::{Input, NoHead, PartialHead};
use super::output::Output;
use super::response::ResponseBody;
use super::upload::Upload;
use crate::proxy::http::client::Attached;
use crate::proxy::http::content::Content;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::request_body::RequestBody;
use crate::proxy::http::upgraded::{Stream, Upgraded, upgrade};

/// More before one response are none that a client waits for. Most of so many are not passed on either.
const MAX_INTERIMS: usize = 20_000;

/// A connection, lent to one request at a time.
pub struct Client {
    idle: Idle,
}

/// Where a connection is between requests.
#[derive(Clone)]
pub struct Idle(Arc<Mutex<Option<Box<Wire>>>>);

/// The connection itself.
pub struct Wire {
    pub stream: Box<dyn Stream>,
    pub input: Input,
    /// What it has as long as it is open.
    pub attached: Arc<Attached>,
}

/// Why there is no response.
pub struct Failed {
    pub error: Error,
    pub request: Returned,
}

/// What comes back of a request without a response.
pub enum Returned {
    /// All of it: nobody has looked at it.
    Unsent(Box<Request<RequestBody>>),
    /// It without its body. The other side may have seen all of it.
    Sent(Box<Request<RequestBody>>),
    Nothing,
}

impl Idle {
    pub fn put(&self, wire: Box<Wire>) {
        *self.lock() = Some(wire);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Wire>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    pub fn new(stream: impl Stream + 'static, attached: Arc<Attached>) -> Self {
        let wire = Wire { stream: Box::new(stream), input: Input::new(), attached };
        Self { idle: Idle(Arc::new(Mutex::new(Some(Box::new(wire))))) }
    }

    /// Whether it is between requests, and open as far as is known.
    pub fn is_open(&self) -> bool {
        self.idle.lock().as_mut().is_some_and(|wire| wire.is_quiet())
    }

    /// Whether it is between requests.
    pub fn is_idle(&self) -> bool {
        self.idle.lock().is_some()
    }

    /// Sends a request. `close`: it is the last.
    pub async fn send(
        &self,
        mut request: Box<Request<RequestBody>>,
        close: bool,
        interim: &mut Interim,
    ) -> Result<Response<Content>, Failed> {
        let Some(mut wire) = self.idle.lock().take() else {
            return Err(Failed { error: Error::Closed, request: Returned::Unsent(request) });
        };
        let body = std::mem::replace(request.body_mut(), RequestBody::empty());
        let declared = framing::length(request.headers(), false).ok().flatten();
        let framing = framing::to_write_request(declared, &body);
        let mut output = Output::new();
        let connection = match request.headers().contains_key(UPGRADE) {
            true => Connection::Upgrade,
            false if close => Connection::Close,
            false => Connection::Implicit,
        };
        encode::request_head(output.buffer(), &request, framing, connection);
        let mut upload = Upload::new(output, body, framing, expects_continue(request.headers()));
        match wire.exchange(request.method(), &mut upload, interim).await {
            Ok((response, read)) => {
                let persists = read.persists && !close;
                Ok(self.received(response, Read { persists, ..read }, wire, upload))
            }
            Err(error) => {
                let request = match upload.unsent() {
                    Some(body) => {
                        *request.body_mut() = body;
                        Returned::Unsent(request)
                    }
                    None => Returned::Sent(request),
                };
                Err(Failed { error, request })
            }
        }
    }

    fn received(
        &self,
        mut response: Response<()>,
        read: Read,
        wire: Box<Wire>,
        upload: Upload,
    ) -> Response<Content> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (switch, coming) = upgrade();
            response.extensions_mut().insert(coming);
            switch.done(Upgraded::new(wire.stream, wire.input.bytes));
            return response.map(|()| Content::Own(None));
        }
        let body = ResponseBody::new(read, wire, upload, self.idle.clone());
        response
            .map(|()| if body.is_end_stream() { Content::Own(None) } else { Content::Http1Response(body) })
    }
}

impl Wire {
    /// Whether the other side has neither closed it nor sent anything.
    fn is_quiet(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        self.input.bytes.is_empty()
            && !self.input.ended
            && self.input.poll_read(cx, &mut self.stream).is_pending()
    }

    /// The response, once its head has come.
    async fn exchange(
        &mut self,
        method: &Method,
        upload: &mut Upload,
        interim: &mut Interim,
    ) -> Result<(Response<()>, Read), Error> {
        for _ in 0..MAX_INTERIMS {
            let mut partial = PartialHead::default();
            let head = poll_fn(|cx| self.poll_head(cx, upload, &mut partial)).await?;
            let mut response = head::response(&head)?;
            let status = response.status();
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                if status == StatusCode::CONTINUE {
                    upload.go_on();
                }
                interim.send(status, response.into_parts().0.headers);
                continue;
            }
            let read = framing::of_response(method, &mut response)?;
            return Ok((response, read));
        }
        Err(Error::Interims(MAX_INTERIMS))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        partial: &mut PartialHead,
    ) -> Poll<Result<Bytes, Error>> {
        upload.poll(cx, &mut self.stream)?;
        let head = self.input.poll_head(cx, &mut self.stream, partial, head::may_begin_response);
        head.map_err(|none| match none {
            NoHead::Malformed(reason) => reason.into(),
            NoHead::Failed(error) => Error::Io(error),
            NoHead::Ended { partial: true } => Error::Ended,
            NoHead::Ended { partial: false } => upload.take_failure().map_or(Error::Closed, Error::Io),
        })
    }
}

/// Sends the rest of a request whose response has begun, until its end or until the response is dropped before its own.
pub async fn finish(
    mut upload: Upload,
    mut stream: impl AsyncWrite + Unpin,
    mut response_ended: oneshot::Receiver<()>,
) {
    let mut watched = true;
    poll_fn(|cx| {
        if watched && let Poll::Ready(ended) = Pin::new(&mut response_ended).poll(cx) {
            watched = false;
            if ended.is_err() {
                return Poll::Ready(());
            }
        }
        match upload.poll(cx, &mut stream) {
            Ok(()) if !upload.has_ended() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}
