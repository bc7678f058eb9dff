//! Pooled HTTP connections to servers. A pool belongs to one generation: when the identity changes, new
//! requests use new connections, and the old pool ends with its last request.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::Uri;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::dial::{DialError, ServerStream, dial};
use super::route::{DEFAULT_PORT, Upstream};
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::Protocol;
use crate::proxy::context::ProxyContext;
use crate::proxy::http::MAX_HEAD_BYTES;
use hotcert_tls::Snapshot;

/// Below the idle time after which servers commonly close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_IDLE_PER_SERVER: usize = 64;

pub type Outgoing = Either<Incoming, Empty<Bytes>>;
pub type PooledClient = Client<Connector, Outgoing>;

pub struct Pool {
    context: Arc<ProxyContext>,
    /// The server of a fixed route. `None`: the server that each request names.
    fixed: Option<Upstream>,
    idle_timeout: Duration,
    client: Mutex<Option<(u64, PooledClient)>>,
}

impl Pool {
    pub fn new(context: Arc<ProxyContext>, fixed: Option<Upstream>) -> Self {
        Self::with_idle_timeout(context, fixed, IDLE_TIMEOUT)
    }

    pub(super) fn with_idle_timeout(
        context: Arc<ProxyContext>,
        fixed: Option<Upstream>,
        idle_timeout: Duration,
    ) -> Self {
        Self { context, fixed, idle_timeout, client: Mutex::default() }
    }

    pub fn fixed(&self) -> Option<&Upstream> {
        self.fixed.as_ref()
    }

    /// The client of the current generation. `None` while there is no identity.
    pub fn client(&self) -> Option<PooledClient> {
        let snapshot = self.context.identities.current()?;
        let mut pooled = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*pooled {
            // A task that loaded the snapshot before a swap must not bring the old pool back after it.
            Some((generation, client)) if *generation >= snapshot.generation => Some(client.clone()),
            _ => {
                let generation = snapshot.generation;
                let connector =
                    Connector { context: Arc::clone(&self.context), snapshot, fixed: self.fixed.clone() };
                let client = Client::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .pool_idle_timeout(self.idle_timeout)
                    .pool_max_idle_per_host(MAX_IDLE_PER_SERVER)
                    .http1_max_buf_size(MAX_HEAD_BYTES)
                    .build(connector);
                *pooled = Some((generation, client.clone()));
                Some(client)
            }
        }
    }
}

/// Dials servers for a pool, under the snapshot that the pool belongs to.
#[derive(Clone)]
pub struct Connector {
    context: Arc<ProxyContext>,
    snapshot: Arc<Snapshot>,
    fixed: Option<Upstream>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<ServerStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { context, snapshot, fixed } = self.clone();
        Box::pin(async move {
            let upstream = match fixed {
                Some(upstream) => upstream,
                None => upstream_of(&uri)?,
            };
            dial(&context, &snapshot, &upstream, Protocol::Http1).await.map(TokioIo::new)
        })
    }
}

fn upstream_of(uri: &Uri) -> Result<Upstream, DialError> {
    let named = Upstream::named(uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(DEFAULT_PORT));
    named.map_err(|error| DialError::BadAddress(error.to_string()))
}

impl<S> Connection for TrackedStream<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
