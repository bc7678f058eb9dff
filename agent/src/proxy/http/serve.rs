//! Serving HTTP on one connection, from a client over TLS or from the app in plain text, until it ends or the
//! tracker asks it to close.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::MAX_HEAD_BYTES;
use super::content::Content;
use super::http2_server::Server;
use super::interim::Interim;
use super::response_body::ProxyBody;
use crate::connection::tracker::{CloseStage, Connection};

/// What becomes of a connection after an upgrade of HTTP/1.1, in the task of the connection.
#[derive(Default)]
pub struct Continuation(Mutex<Option<Next>>);

type Next = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Continuation {
    pub fn set(&self, next: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(next));
    }

    fn take(&self) -> Option<Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves one connection to its end; `respond` fails with the reset that the client is to get, which is for HTTP/2
/// alone. `tracked`: the entry in the tracker that may ask it to close. `malformed` is told of an HTTP/1 request that could
/// not be read, to which hyper answers with a status alone.
pub fn serve<S, R, F>(
    stream: S,
    http2: bool,
    tracked: Option<Arc<Connection>>,
    continuation: Arc<Continuation>,
    malformed: impl FnOnce() + Send + 'static,
    respond: R,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<Content>, Interim) -> F + Send + Unpin + 'static,
    F: Future<Output = Result<Response<ProxyBody>, h2::Error>> + Send + 'static,
{
    if http2 {
        Box::pin(Server::new(stream, tracked, respond))
    } else {
        let service = service_fn(move |request: Request<Incoming>| {
            respond(request.map(Content::Http1), Interim::none())
        });
        // The reaper enforces the timeout of request heads, without a timer per request.
        let serving = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let serving = until_closed(Box::pin(serving), tracked);
        Box::pin(async move {
            if serving.await.is_err_and(|error| error.is_parse()) {
                malformed();
            }
            if let Some(next) = continuation.take() {
                next.await;
            }
        })
    }
}

/// Serves a connection to its end, and shuts it down gracefully when the tracker asks for it.
async fn until_closed<C: GracefulConnection>(
    mut connection: Pin<Box<C>>,
    tracked: Option<Arc<Connection>>,
) -> C::Output {
    let mut shutting_down = false;
    std::future::poll_fn(|cx| {
        if let Some(tracked) = &tracked {
            tracked.wake_on_close(cx.waker());
            if !shutting_down && tracked.close_stage() >= C::SHUTDOWN_AT {
                shutting_down = true;
                connection.as_mut().shut_down();
            }
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// A hyper server connection.
trait GracefulConnection: Future {
    /// The stage at which it shuts down. HTTP/2 can announce "no new requests" without a race, and does so
    /// early; HTTP/1 announces it in its next response, and shuts down if none comes.
    const SHUTDOWN_AT: CloseStage;

    fn shut_down(self: Pin<&mut Self>);
}

impl<I, B, S> GracefulConnection for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const SHUTDOWN_AT: CloseStage = CloseStage::Finish;

    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
