//! One HTTP/1.1 connection to the app or to a server, which carries one request at a time, and what it has in common
//! with [one of HTTP/2](super::http2_connection).

use std::io;
use std::sync::Arc;

use hyper::body::Body as _;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::Content;
use super::headers::to_http1;
use super::http1;
use super::http1::client::{Client, Failed, Returned};
use super::interim::Interim;
use super::proxy_status::ErrorType;
use super::request_body::RequestBody;
use crate::connection::tracker::{CloseStage, Connection};
use crate::proxy::inbound::app_connections::AppPermit;

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
    Http1(#[from] http1::Error),
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
    pub request: Returned,
}

impl SendError {
    pub(super) fn sent(error: impl Into<ClientError>) -> Self {
        Self { error: error.into(), request: Returned::Nothing }
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
            Self::Http1(error) => error.was_closed(),
            Self::Http2(error) => error.is_io() || self.is_unprocessed(),
            Self::NoHttp2(_) => false,
            Self::Unresponsive => true,
        }
    }

    /// For `Proxy-Status`.
    pub fn proxy_error(&self) -> ErrorType {
        match self {
            error if error.was_closed() => ErrorType::ConnectionTerminated,
            _ => ErrorType::HttpProtocolError,
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

pub struct Http1Connection {
    client: Client,
    attached: Arc<Attached>,
}

impl Http1Connection {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, attached: Attached) -> Self {
        let attached = Arc::new(attached);
        Self { client: Client::new(stream, Arc::clone(&attached)), attached }
    }

    /// Whether it can be used again, now that the response has ended.
    pub fn is_reusable(&self) -> bool {
        self.client.is_idle()
    }

    /// The entry in the tracker, if it has one.
    pub fn tracked(&self) -> Option<&Connection> {
        self.attached.tracked().map(|connection| &**connection)
    }

    /// Whether the next request can be sent. It cannot when the connection was closed.
    pub fn takes_requests(&self, generation: u64) -> bool {
        self.attached.takes_requests(generation) && self.client.is_open()
    }

    pub async fn send(
        &mut self,
        mut request: Box<Request<RequestBody>>,
        interim: &mut Interim,
    ) -> Result<Response<Content>, SendError> {
        to_http1(&mut request);
        let close = !request.body().is_end_stream()
            && matches!(&*self.attached, Attached::App { .. })
            && !expects_body(request.method());
        let sent = self.client.send(request, close, interim).await;
        sent.map_err(|Failed { error, request }| SendError { error: error.into(), request })
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
