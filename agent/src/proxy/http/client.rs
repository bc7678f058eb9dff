//! One HTTP/1.1 connection to the app or to a server, which carries one request at a time, and what it has in common
//! with [one of HTTP/2](super::http2_connection).

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::MAX_HEAD_BYTES;
use super::headers::to_http1;
use super::request_body::RequestBody;
use crate::connection::tracker::{CloseStage, Connection};
use crate::proxy::inbound::app_connections::AppPermit;

/// A connection that is not ready for its next request within this is closed.
const READY_WITHIN: Duration = Duration::from_millis(10);

/// What a connection has as long as it is open.
pub enum Attached {
    /// One of the connections that the app may have.
    App { _permit: AppPermit },
    /// The entry in the tracker.
    Server(Arc<Connection>),
}

impl Attached {
    /// The entry in the tracker, if it has one.
    pub(super) fn tracked(&self) -> Option<&Arc<Connection>> {
        match self {
            Self::App { .. } => None,
            Self::Server(connection) => Some(connection),
        }
    }

    /// Whether a new request may be sent on it; `generation` is the current one.
    pub(super) fn takes_requests(&self, generation: u64) -> bool {
        match self {
            Self::App { .. } => true,
            Self::Server(connection) => {
                connection.generation() >= generation && connection.close_stage() == CloseStage::None
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("it does not answer in HTTP/2: {0}")]
    NoHttp2(#[source] io::Error),
    #[error("it has said nothing for 20 seconds, and has not answered a PING")]
    Unresponsive,
}

/// Why a request has no response.
pub struct SendError {
    pub error: ClientError,
    /// The request, if nobody has looked at it.
    pub unsent: Option<Request<RequestBody>>,
}

impl SendError {
    pub(super) fn sent(error: impl Into<ClientError>) -> Self {
        Self { error: error.into(), unsent: None }
    }
}

impl ClientError {
    /// Whether the other side said that it has not looked at the request, so that it can be sent again.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Http2(error) => {
                error.is_remote()
                    && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                        || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
            }
            Self::Http1(_) | Self::NoHttp2(_) | Self::Unresponsive => false,
        }
    }

    /// Whether the other side refused this request alone.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Http2(error) if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    }

    /// Whether the connection was closed under the request.
    pub fn was_closed(&self) -> bool {
        match self {
            Self::Http1(error) => {
                error.is_incomplete_message() || error.is_closed() || error.is_canceled() || was_reset(error)
            }
            Self::Http2(error) => error.is_io() || self.is_unprocessed(),
            Self::NoHttp2(_) => false,
            Self::Unresponsive => true,
        }
    }

    /// The other side reset this request alone.
    pub fn reset(&self) -> Option<h2::Reason> {
        match self {
            Self::Http2(error) if error.is_remote() && error.is_reset() => error.reason(),
            Self::Http2(_) if self.is_unprocessed() => Some(h2::Reason::REFUSED_STREAM),
            _ => None,
        }
    }
}

/// What was sent reached a socket that was closed.
fn was_reset(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
}

pub struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    attached: Arc<Attached>,
    /// Whether the body of the last request was taken whole.
    body_sent: Arc<AtomicBool>,
    /// Whether a body may be left unread on it, in which the other side would see its next request.
    unread: bool,
}

impl Http1Connection {
    pub async fn handshake<S>(io: S, attached: Attached) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(io)).await?;
        let attached = Arc::new(attached);
        let held = Arc::clone(&attached);
        tokio::spawn(async move {
            // Its errors are those of its requests.
            let _ = connection.with_upgrades().await;
            drop(held);
        });
        Ok(Self { sender, attached, body_sent: Arc::default(), unread: false })
    }

    /// Whether the next request can be sent. It cannot when the connection was closed.
    pub async fn is_ready(&mut self) -> bool {
        matches!(timeout(READY_WITHIN, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Whether it can be used again once the response has ended.
    pub fn is_reusable(&self) -> bool {
        !self.unread
    }

    pub fn takes_requests(&self, generation: u64) -> bool {
        !self.sender.is_closed() && self.attached.takes_requests(generation)
    }

    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<hyper::body::Incoming>, SendError> {
        let (mut head, mut body) = request.into_parts();
        to_http1(&mut head, &body);
        let has_body = !body.is_end_stream();
        if has_body {
            self.body_sent.store(false, Relaxed);
            body.report_whole(&self.body_sent);
            if matches!(&*self.attached, Attached::App { .. }) && !expects_body(&head.method) {
                head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let response = self.sender.try_send_request(Request::from_parts(head, body)).await;
        // What was answered before it was sent may never be read.
        self.unread = has_body && !self.body_sent.load(Relaxed);
        response.map_err(|mut error| {
            let unsent = error.take_message();
            SendError { error: error.into_error().into(), unsent }
        })
    }

    /// From now on it carries bytes.
    pub fn upgraded(&self) {
        if let Attached::Server(connection) = &*self.attached {
            connection.upgrade();
        }
    }
}

/// Whether apps read the body of such a request because of its method alone. Of others they may answer without a look at
/// the body, and take it for the next request; a connection that is closed after the response has no next one.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
