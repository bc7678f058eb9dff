//! The app's side of an HTTP connection: connections to it that one client connection keeps for
//! its own requests, so that no two clients ever share one.

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

/// A connection idle for longer is not trusted to be open still: apps close theirs after a few
/// seconds, and a request that crosses the close would be lost.
const REUSE_WITHIN: Duration = Duration::from_millis(1000);

/// A connection that was given back is ready again at once, or is not waited for.
const READY_WITHIN: Duration = Duration::from_millis(10);

/// The app as all client connections of a listener see it.
pub struct AppPools {
    target: Target,
    connect_within: Duration,
    permits: Arc<Semaphore>,
    /// Those that may hold idle connections.
    resting: Mutex<Vec<Weak<AppPool>>>,
}

/// The app as one client connection sees it.
pub struct AppPool {
    apps: Arc<AppPools>,
    idle: Mutex<Vec<(AppConnection, Instant)>>,
    listed: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Unreachable(#[from] AppUnreachable),
    #[error("the app at {0} has as many connections as this agent may open")]
    Busy(Target),
    #[error("the app at {0} gave no proper answer: {1}")]
    NoAnswer(Target, #[source] hyper::Error),
}

/// The app connection that answered; give it back once the answer's body is through.
pub struct PooledConnection {
    app: Arc<AppPool>,
    sender: AppConnection,
}

struct AppConnection {
    sender: SendRequest<Incoming>,
    /// One of the connections the app may have.
    _permit: OwnedSemaphorePermit,
}

impl PooledConnection {
    pub fn give_back(self) {
        let app = self.app;
        lock(&app.idle).push((self.sender, Instant::now()));
        if !app.listed.swap(true, AcqRel) {
            lock(&app.apps.resting).push(Arc::downgrade(&app));
        }
    }
}

impl AppPools {
    /// `most`: connections to the app at once. A request beyond waits for one to be free.
    pub fn new(target: Target, connect_within: Duration, most: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(most));
        Arc::new(Self { target, connect_within, permits, resting: Mutex::default() })
    }

    /// For a new client connection.
    pub fn app(self: &Arc<Self>) -> AppPool {
        AppPool { apps: Arc::clone(self), idle: Mutex::default(), listed: AtomicBool::new(false) }
    }

    /// Closes connections to the app that are too old to be used again, so that an idle client
    /// costs the app nothing. Runs until dropped.
    pub async fn reap_idle(self: Arc<Self>) {
        let mut tick = tokio::time::interval(REUSE_WITHIN);
        loop {
            tick.tick().await;
            let listed = std::mem::take(&mut *lock(&self.resting));
            let resting: Vec<_> =
                listed.into_iter().filter(|app| app.upgrade().is_some_and(|app| app.has_idle())).collect();
            lock(&self.resting).extend(resting);
        }
    }
}

impl AppPool {
    /// Drops what is too old; whether anything is left.
    fn has_idle(&self) -> bool {
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
        while let Some(mut sender) = self.reuse() {
            // Closed, or still busy with an upload that the app has answered already.
            if !matches!(tokio::time::timeout(READY_WITHIN, sender.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match sender.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.lease(sender))),
                // Closed before it was sent: it comes back whole and goes out again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(AppError::NoAnswer(self.apps.target.clone(), error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        match sender.sender.send_request(request).await {
            Ok(response) => Ok((response, self.lease(sender))),
            Err(error) => Err(AppError::NoAnswer(self.apps.target.clone(), error)),
        }
    }

    fn reuse(&self) -> Option<AppConnection> {
        let mut idle = lock(&self.idle);
        idle.retain(is_fresh);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn connect(&self) -> Result<AppConnection, AppError> {
        let permit = Arc::clone(&self.apps.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.apps.connect_within, permit).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(AppError::Busy(self.apps.target.clone())),
        };
        let stream = self.apps.target.connect(self.apps.connect_within).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| AppError::NoAnswer(self.apps.target.clone(), error))?;
        tokio::spawn(connection);
        Ok(AppConnection { sender, _permit: permit })
    }

    fn lease(self: &Arc<Self>, sender: AppConnection) -> PooledConnection {
        PooledConnection { app: Arc::clone(self), sender }
    }
}

fn is_fresh((_, since): &(AppConnection, Instant)) -> bool {
    since.elapsed() < REUSE_WITHIN
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
