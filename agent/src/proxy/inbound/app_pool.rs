//! Pooled HTTP connections to the app. Each client connection has a pool of its own, so that no two clients
//! ever share a connection to the app.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proxy::app_endpoint::{AppUnreachable, Target};
use crate::proxy::http::MAX_HEAD_BYTES;

/// A connection that was idle for longer is not reused: apps close theirs after a few seconds, and a
/// request that crosses the close would be lost.
const REUSE_WITHIN: Duration = Duration::from_millis(1000);

/// A released connection that is not ready for the next request within this is closed.
const READY_WITHIN: Duration = Duration::from_millis(10);

/// The pools of all client connections of a listener, and the bound on their connections together.
pub struct AppPools {
    target: Target,
    connect_within: Duration,
    permits: Arc<Semaphore>,
    /// Pools that may hold idle connections.
    with_idle: Mutex<Vec<Weak<AppPool>>>,
}

/// The pool of one client connection.
pub struct AppPool {
    pools: Arc<AppPools>,
    idle: Mutex<Vec<(AppConnection, Instant)>>,
    /// It is in `AppPools::with_idle`.
    listed: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Unreachable(#[from] AppUnreachable),
    #[error("the app at {0} has as many connections as this agent may open (--max-connections)")]
    Busy(Target),
    #[error("no valid response from the app at {0}: {1}")]
    InvalidResponse(Target, #[source] hyper::Error),
}

/// The connection that a response comes on; release it once the body has ended.
pub struct PooledConnection {
    pool: Arc<AppPool>,
    connection: AppConnection,
}

struct AppConnection {
    sender: SendRequest<Incoming>,
    /// One of the connections that the app may have.
    _permit: OwnedSemaphorePermit,
}

impl PooledConnection {
    /// Returns it to the pool for the next request.
    pub fn release(self) {
        let pool = self.pool;
        lock(&pool.idle).push((self.connection, Instant::now()));
        if !pool.listed.swap(true, AcqRel) {
            lock(&pool.pools.with_idle).push(Arc::downgrade(&pool));
        }
    }
}

impl AppPools {
    /// At most `max_connections` to the app at once; further requests wait for one to be free.
    pub fn new(target: Target, connect_within: Duration, max_connections: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(max_connections));
        Arc::new(Self { target, connect_within, permits, with_idle: Mutex::default() })
    }

    /// For a new client connection.
    pub fn pool(self: &Arc<Self>) -> AppPool {
        AppPool { pools: Arc::clone(self), idle: Mutex::default(), listed: AtomicBool::new(false) }
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
}

impl AppPool {
    /// Closes what was idle for too long; whether anything is left.
    fn reap_and_has_idle(&self) -> bool {
        let mut idle = lock(&self.idle);
        idle.retain(is_fresh);
        if idle.is_empty() {
            self.listed.store(false, Release);
        }
        !idle.is_empty()
    }

    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, PooledConnection), AppError> {
        while let Some(mut connection) = self.take_idle() {
            // Closed, or still busy with an upload that the app has answered already.
            if !matches!(tokio::time::timeout(READY_WITHIN, connection.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.pooled(connection))),
                // Closed before it was sent: the request is returned whole and sent again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        return Err(AppError::InvalidResponse(self.pools.target.clone(), error.into_error()));
                    }
                },
            }
        }
        let mut connection = self.connect().await?;
        match connection.sender.send_request(request).await {
            Ok(response) => Ok((response, self.pooled(connection))),
            Err(error) => Err(AppError::InvalidResponse(self.pools.target.clone(), error)),
        }
    }

    fn take_idle(&self) -> Option<AppConnection> {
        let mut idle = lock(&self.idle);
        idle.retain(is_fresh);
        idle.pop().map(|(connection, _)| connection)
    }

    async fn connect(&self) -> Result<AppConnection, AppError> {
        let permit = Arc::clone(&self.pools.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.pools.connect_within, permit).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(AppError::Busy(self.pools.target.clone())),
        };
        let stream = self.pools.target.connect(self.pools.connect_within).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| AppError::InvalidResponse(self.pools.target.clone(), error))?;
        tokio::spawn(connection);
        Ok(AppConnection { sender, _permit: permit })
    }

    fn pooled(self: &Arc<Self>, connection: AppConnection) -> PooledConnection {
        PooledConnection { pool: Arc::clone(self), connection }
    }
}

fn is_fresh((_, since): &(AppConnection, Instant)) -> bool {
    since.elapsed() < REUSE_WITHIN
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
