//! Connections to servers, by server and by the thread that uses them. Requests after a change of identity use
//! connections that were made under it; those made before end with their last request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use hyper::http::uri::{Authority, Scheme};
use tracing::warn;

use super::destination::Destinations;
use super::dial::{DialError, Dialed, Purpose, dial};
use super::route::Upstream;
use crate::connection::error_chain::with_causes;
use crate::connection::tracker::Side;
use crate::proxy::context::ProxyContext;
use crate::proxy::http::client::{Attached, ClientError, Http1Connection};
use crate::proxy::http::exchange::{Origin, Retry};
use crate::proxy::http::http2_connection::Http2Connection;
use crate::proxy::http::pool::{HttpConnection, Needs, Pool};
use crate::proxy::request_error::RequestError;
use hotcert_log::Allowed;
use hotcert_tls::Snapshot;

/// Below the idle time after which servers commonly close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between looks for connections that were idle for too long or are of an older identity.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// The pools of all servers.
pub struct Servers {
    context: Arc<ProxyContext>,
    destinations: Destinations,
    idle_timeout: Duration,
    pools: Mutex<HashMap<Key, Arc<Pool>>>,
}

/// A connection stays on the thread that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    thread: ThreadId,
    upstream: Upstream,
}

/// One server, for a request that begins now.
pub struct Server {
    servers: Arc<Servers>,
    upstream: Upstream,
    snapshot: Arc<Snapshot>,
    pool: Arc<Pool>,
}

impl Servers {
    /// Must be called on a runtime, which then reaps idle connections.
    pub fn new(context: Arc<ProxyContext>, destinations: Destinations) -> Arc<Self> {
        Self::with_idle_timeout(context, destinations, IDLE_TIMEOUT)
    }

    pub(super) fn with_idle_timeout(
        context: Arc<ProxyContext>,
        destinations: Destinations,
        idle_timeout: Duration,
    ) -> Arc<Self> {
        let servers = Arc::new(Self { context, destinations, idle_timeout, pools: Mutex::default() });
        let reaped = Arc::downgrade(&servers);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(REAP_INTERVAL.min(idle_timeout));
            loop {
                tick.tick().await;
                match reaped.upgrade() {
                    Some(servers) => servers.reap(),
                    None => return,
                }
            }
        });
        servers
    }

    /// `None` while there is no identity to connect with.
    pub fn server(self: &Arc<Self>, upstream: Upstream) -> Option<Server> {
        let snapshot = self.context.identities.current()?;
        let key = Key { thread: std::thread::current().id(), upstream };
        let pool = match self.lock().entry(key.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => Arc::clone(new.insert(Pool::new(true))),
        };
        Some(Server { servers: Arc::clone(self), upstream: key.upstream, snapshot, pool })
    }

    /// What a request is told, and if that is not the reason, the log.
    fn dial_failed(&self, upstream: &Upstream, error: &DialError) -> RequestError {
        match error {
            DialError::Full => RequestError::Full,
            error if self.destinations.are_named_by_requests() && error.is_of_the_network() => {
                let reason = error.kind();
                let subject = format!("{upstream} {reason}");
                if let Some(Allowed { suppressed }) = self.context.log_limiter.allow(&subject) {
                    warn!(suppressed, %upstream, reason, %error, "the forward proxy cannot reach a server");
                }
                RequestError::ProxyUnreachable(upstream.authority(), reason)
            }
            error => RequestError::BadGateway {
                error: error.proxy_error(),
                next_hop: upstream.authority(),
                message: error.to_string(),
            },
        }
    }

    /// For what is not dialled by requests.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    fn reap(&self) {
        let generation = self.context.identities.current().map_or(0, |snapshot| snapshot.generation);
        // A pool that a request holds is about to have a connection.
        self.lock().retain(|_, pool| pool.reap(generation, self.idle_timeout) || Arc::strong_count(pool) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin for Server {
    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    fn fresh(&self) -> Duration {
        self.servers.idle_timeout
    }

    fn is_http2_only(&self) -> bool {
        false
    }

    fn response_timeout(&self) -> Option<Duration> {
        self.servers.context.timeouts.response
    }

    fn count_retry(&self, reason: Retry) {
        self.servers.context.requests.count_retry(Side::Outbound, reason);
    }

    async fn connect(&self, needs: Needs) -> Result<HttpConnection, RequestError> {
        let context = &self.servers.context;
        let purpose = if needs == Needs::Http1 { Purpose::Http1 } else { Purpose::Requests };
        let dialed = dial(context, &self.snapshot, &self.upstream, &self.servers.destinations, purpose).await;
        let Dialed { stream, connection, http2 } =
            dialed.map_err(|error| self.servers.dial_failed(&self.upstream, &error))?;
        let attached = Attached::Server(connection);
        let connection = match http2 {
            true => {
                let authority = self.upstream.authority().parse::<Authority>();
                let authority = authority.unwrap_or_else(|_| Authority::from_static("localhost"));
                let within = context.timeouts.connect;
                Http2Connection::handshake(stream, Scheme::HTTPS, authority, attached, within)
                    .await
                    .map(HttpConnection::Http2)
            }
            false => Ok(HttpConnection::Http1(Http1Connection::new(stream, attached))),
        };
        connection.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ClientError) -> RequestError {
        RequestError::BadGateway {
            error: error.proxy_error(),
            next_hop: self.name(),
            message: format!("no valid response from {}: {}", self.name(), with_causes(error)),
        }
    }

    fn grpc_needs_http2(&self) -> RequestError {
        RequestError::GrpcToHttp1Server(self.name())
    }

    fn name(&self) -> String {
        self.upstream.authority()
    }
}
