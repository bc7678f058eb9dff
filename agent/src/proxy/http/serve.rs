//! Serving HTTP on one connection, from a client over TLS or from the app in plain text, until it ends or the
//! tracker asks it to close.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::Content;
use super::http1::{self, Malformed};
use super::http2_server::Server;
use super::interim::Interim;
use super::response_body::ProxyBody;
use crate::connection::tracker::Connection;

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
/// alone. `tracked`: the entry in the tracker that may ask it to close. `refuse` answers an HTTP/1 request that could not be
/// read.
pub fn serve<S, R, F>(
    stream: S,
    http2: bool,
    tracked: Option<Arc<Connection>>,
    continuation: Arc<Continuation>,
    refuse: impl Fn(Malformed) -> Response<ProxyBody> + Send + Sync + 'static,
    respond: R,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn(Request<Content>, Interim) -> F + Send + Sync + Unpin + 'static,
    F: Future<Output = Result<Response<ProxyBody>, h2::Error>> + Send + 'static,
{
    if http2 {
        Box::pin(Server::new(stream, tracked, respond))
    } else {
        // The reaper enforces the timeout of request heads, without a timer per request.
        Box::pin(async move {
            http1::server::serve(stream, tracked, refuse, respond).await;
            if let Some(next) = continuation.take() {
                next.await;
            }
        })
    }
}
