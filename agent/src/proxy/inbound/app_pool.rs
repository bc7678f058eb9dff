//! Connections to the app. Each client connection has a pool of its own, so that no two clients ever share a
//! connection to the app.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use humantime::format_duration;
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Scheme};

use super::app_connections::{AppShare, NoAppConnection};
use crate::connection::error_chain::with_causes;
use crate::connection::memory::{ConnectionMemory, ReadLimited};
use crate::connection::tracker::Side;
use crate::proxy::app_endpoint::{AppUnreachable, Target};
use crate::proxy::context::{RequestCounters, Timeouts};
use crate::proxy::http::client::{Attached, ClientError, Http1Connection};
use crate::proxy::http::exchange::{Origin, Retry};
use crate::proxy::http::http1::{self, Malformed};
use crate::proxy::http::http2_connection::Http2Connection;
use crate::proxy::http::pool::{HttpConnection, Needs, Pool};
use crate::proxy::http::proxy_status::ErrorType;
use crate::proxy::request_error::RequestError;

/// A connection that was idle for longer is not reused: apps close theirs after a few seconds, and a request with a body
/// that crosses the close is lost.
const REUSE_WITHIN: Duration = Duration::from_millis(1000);

/// The pools of all client connections of a listener.
pub struct AppPools {
    target: Target,
    /// For requests that name none: the app's own address, as for a client without an agent.
    authority: Authority,
    host: HeaderValue,
    http2: bool,
    timeouts: Timeouts,
    requests: RequestCounters,
    /// Pools that may hold idle connections.
    with_idle: Mutex<Vec<Weak<AppPool>>>,
}

/// The pool of one client connection.
pub struct AppPool {
    pools: Arc<AppPools>,
    pool: Arc<Pool>,
    share: AppShare,
    /// Of the client connection.
    memory: Arc<ConnectionMemory>,
    /// It is in `AppPools::with_idle`.
    listed: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    Unreachable(#[from] AppUnreachable),
    #[error("no connection to the app at {target} was free within {}: {reason}", format_duration(*within))]
    Busy { target: Target, reason: NoAppConnection, within: Duration },
    #[error("no valid response from the app at {0}: {1}")]
    InvalidResponse(Target, String, ErrorType),
    #[error(
        "no valid response from the app at {0}: {1}; if it speaks HTTP/2 (gRPC), write h2c: instead of http: in the route of --inbound (annotation hotcert.dev/inbound)"
    )]
    NoHttp1(Target, String),
    #[error(
        "the app at {0} does not answer in HTTP/2 ({1}); if it speaks HTTP/1.1, write http: instead of h2c: in the route of --inbound (annotation hotcert.dev/inbound)"
    )]
    NoHttp2(Target, String),
}

impl AppError {
    /// For `Proxy-Status`.
    fn proxy_error(&self) -> ErrorType {
        match self {
            Self::Unreachable(error) => ErrorType::of_connecting(error.cause()),
            Self::Busy { .. } => ErrorType::ConnectionLimitReached,
            Self::InvalidResponse(.., error) => *error,
            Self::NoHttp1(..) | Self::NoHttp2(..) => ErrorType::HttpProtocolError,
        }
    }
}

impl AppPools {
    pub fn new(target: Target, http2: bool, timeouts: Timeouts, requests: RequestCounters) -> Arc<Self> {
        let address = match &target {
            Target::Tcp(address) => address.to_string().parse().ok(),
            Target::Unix(_) => None,
        };
        let authority = address.unwrap_or_else(|| Authority::from_static("localhost"));
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Arc::new(Self { target, authority, host, http2, timeouts, requests, with_idle: Mutex::default() })
    }

    /// For a new client connection, of which `memory` is. It has at most as many connections to the app as its share;
    /// further requests wait for one to be free.
    pub fn pool(self: &Arc<Self>, share: AppShare, memory: Arc<ConnectionMemory>) -> AppPool {
        let (pools, pool) = (Arc::clone(self), Pool::new(self.http2));
        AppPool { pools, pool, share, memory, listed: AtomicBool::new(false) }
    }

    /// Closes connections to the app that were idle for too long to be reused, so that an idle client
    /// costs the app nothing. Runs until dropped.
    pub async fn reap_idle(self: Arc<Self>) {
        let mut tick = tokio::time::interval(REUSE_WITHIN);
        loop {
            tick.tick().await;
            let mut pools = std::mem::take(&mut *lock(&self.with_idle));
            pools.retain(|pool| pool.upgrade().is_some_and(|pool| pool.reap_and_has_idle()));
            lock(&self.with_idle).extend(pools);
        }
    }

    async fn connect(
        &self,
        share: &AppShare,
        memory: &Arc<ConnectionMemory>,
    ) -> Result<HttpConnection, AppError> {
        let within = self.timeouts.connect;
        let permit = share.acquire(within).await;
        let permit =
            permit.map_err(|reason| AppError::Busy { target: self.target.clone(), reason, within })?;
        let stream = self.target.connect(within).await?;
        let attached = Attached::App { _permit: permit };
        let connection = match self.http2 {
            true => {
                let authority = self.authority.clone();
                Http2Connection::handshake(stream, Scheme::HTTP, authority, attached, within)
                    .await
                    .map(HttpConnection::Http2)
            }
            false => {
                let stream = ReadLimited::new(stream, Arc::clone(memory));
                Ok(HttpConnection::Http1(Http1Connection::new(stream, attached)))
            }
        };
        connection.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ClientError) -> AppError {
        match error {
            ClientError::NoHttp2(cause) => AppError::NoHttp2(self.target.clone(), cause.to_string()),
            ClientError::Http1(error @ http1::Error::Malformed(Malformed::FirstLine)) => {
                AppError::NoHttp1(self.target.clone(), with_causes(error))
            }
            error => AppError::InvalidResponse(self.target.clone(), with_causes(error), error.proxy_error()),
        }
    }

    fn bad_gateway(&self, error: &AppError) -> RequestError {
        RequestError::BadGateway {
            error: error.proxy_error(),
            next_hop: self.target.to_string(),
            message: error.to_string(),
        }
    }
}

impl AppPool {
    /// Closes what was idle for too long; whether anything is left.
    fn reap_and_has_idle(&self) -> bool {
        // First, so that a connection that comes back meanwhile lists the pool anew.
        self.listed.store(false, Release);
        let has_idle = self.pool.reap(0, REUSE_WITHIN);
        has_idle && !self.listed.swap(true, AcqRel)
    }

    /// For requests that name none.
    pub fn host(&self) -> &HeaderValue {
        &self.pools.host
    }

    /// Lets the reaper know that there will be connections to reap.
    pub fn list(self: &Arc<Self>) {
        if !self.listed.load(Acquire) && !self.listed.swap(true, AcqRel) {
            lock(&self.pools.with_idle).push(Arc::downgrade(self));
        }
    }
}

impl Origin for AppPool {
    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn generation(&self) -> u64 {
        0
    }

    fn fresh(&self) -> Duration {
        REUSE_WITHIN
    }

    fn is_http2_only(&self) -> bool {
        self.pools.http2
    }

    fn response_timeout(&self) -> Option<Duration> {
        self.pools.timeouts.response
    }

    fn count_retry(&self, reason: Retry) {
        self.pools.requests.count_retry(Side::Inbound, reason);
    }

    async fn connect(&self, _needs: Needs) -> Result<HttpConnection, RequestError> {
        self.pools.connect(&self.share, &self.memory).await.map_err(|error| match error {
            AppError::Busy { .. } => RequestError::AppBusy(error.to_string()),
            error => self.pools.bad_gateway(&error),
        })
    }

    fn failed(&self, error: &ClientError) -> RequestError {
        self.pools.bad_gateway(&self.pools.failed(error))
    }

    fn grpc_needs_http2(&self) -> RequestError {
        RequestError::GrpcToHttp1App
    }

    fn name(&self) -> String {
        format!("the app at {}", self.pools.target)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
