//! The pool of connections to one app or server. An HTTP/1.1 connection is lent to one request at a time and comes
//! back when its response has ended; an HTTP/2 connection is lent to many at once.

use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Request, Response};

use super::client::{Http1Connection, SendError};
use super::content::Content;
use super::http2_connection::{Http2Connection, InUse};
use super::interim::Interim;
use super::request_body::RequestBody;
use crate::connection::tracker::Connection;
use crate::proxy::request_error::RequestError;

/// Idle HTTP/1.1 connections beyond this are closed.
const MAX_IDLE: usize = 64;

pub enum HttpConnection {
    Http1(Http1Connection),
    Http2(Http2Connection),
}

pub struct Pool {
    state: Mutex<State>,
    /// Locked while a connection is made that others could share.
    connecting: tokio::sync::Mutex<()>,
    /// HTTP/1.1 connections that are lent, and connections that are being made.
    lent: AtomicUsize,
}

struct State {
    http1: Vec<Idle<Http1Connection>>,
    http2: Vec<Idle<Http2Connection>>,
    /// The last connection that was made is HTTP/2, or none was made yet and it may be.
    multiplexes: bool,
    failed: Option<(Instant, RequestError)>,
}

impl State {
    fn take_http2(&mut self, generation: u64) -> Option<Lease> {
        self.http2.retain(|shared| shared.connection.takes_requests(generation));
        self.http2.iter_mut().find_map(|shared| {
            let place = shared.connection.reserve()?;
            shared.since = Instant::now();
            Some(Lease::Http2 { connection: shared.connection.clone(), _place: place })
        })
    }
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Any,
    /// An upgrade of HTTP/1.1.
    Http1,
    /// A gRPC call.
    Http2,
}

/// A connection lent to one request.
pub enum Lease {
    Http1 { connection: Http1Connection, lent: Lent },
    Http2 { connection: Http2Connection, _place: InUse },
}

/// Counts an HTTP/1.1 connection as lent until dropped.
pub struct Lent(Arc<Pool>);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Relaxed);
    }
}

impl Lease {
    /// The connection to a server in the tracker.
    pub fn tracked(&self) -> Option<&Connection> {
        match self {
            Self::Http1 { connection, .. } => connection.tracked(),
            Self::Http2 { connection, .. } => connection.tracked(),
        }
    }

    /// The response has ended: the connection is free for the next request.
    pub fn release(self) {
        if let Self::Http1 { connection, lent } = self {
            lent.0.put_back(connection);
        }
    }

    pub async fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        interim: &mut Interim,
    ) -> Result<Response<Content>, SendError> {
        match self {
            Self::Http1 { connection, .. } => connection.send(request, interim).await,
            Self::Http2 { connection, .. } => connection.send(request, interim).await,
        }
    }
}

impl Pool {
    /// `multiplexes`: connections may turn out to be HTTP/2.
    pub fn new(multiplexes: bool) -> Arc<Self> {
        let state = State { http1: Vec::new(), http2: Vec::new(), multiplexes, failed: None };
        Arc::new(Self {
            state: Mutex::new(state),
            connecting: tokio::sync::Mutex::default(),
            lent: AtomicUsize::new(0),
        })
    }

    /// A connection of this generation or a newer one that was not idle for longer than `fresh`, or else a new one.
    /// Also whether it is new.
    pub async fn lend<C, F>(
        self: &Arc<Self>,
        needs: Needs,
        generation: u64,
        fresh: Duration,
        connect: C,
    ) -> Result<(Lease, bool), RequestError>
    where
        C: FnOnce() -> F,
        F: Future<Output = Result<HttpConnection, RequestError>>,
    {
        if let Some(lease) = self.take(needs, generation, fresh) {
            return Ok((lease, false));
        }
        // A pool that waits for a connection has something to reap soon.
        let _coming = self.lent();
        if needs == Needs::Http1 || !self.lock().multiplexes {
            return Ok((self.lease_new(connect().await?, needs), true));
        }
        // Requests that come together share the connection that the first of them makes, and its failure.
        let asked = Instant::now();
        let connecting = self.connecting.lock().await;
        if let Some((at, error)) = &self.lock().failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some(lease) = self.take(needs, generation, fresh) {
            return Ok((lease, false));
        }
        if !self.lock().multiplexes {
            drop(connecting);
            return Ok((self.lease_new(connect().await?, needs), true));
        }
        match connect().await {
            Ok(connection) => Ok((self.lease_new(connection, needs), true)),
            Err(error) => {
                self.lock().failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Closes what was idle for longer than `fresh` or is of an older generation; whether anything is left
    /// that could become idle.
    pub fn reap(&self, generation: u64, fresh: Duration) -> bool {
        let mut state = self.lock();
        let State { http1, http2, .. } = &mut *state;
        http1.retain(|idle| idle.since.elapsed() < fresh && idle.connection.takes_requests(generation));
        for shared in http2.iter_mut().filter(|shared| !shared.connection.is_idle()) {
            shared.since = Instant::now();
        }
        http2.retain(|shared| {
            let Idle { connection, since } = shared;
            since.elapsed() < fresh && connection.takes_requests(generation)
        });
        !(http1.is_empty() && http2.is_empty()) || self.lent.load(Relaxed) > 0
    }

    fn take(self: &Arc<Self>, needs: Needs, generation: u64, fresh: Duration) -> Option<Lease> {
        loop {
            let connection = {
                let mut state = self.lock();
                if needs != Needs::Http1
                    && let Some(lease) = state.take_http2(generation)
                {
                    return Some(lease);
                }
                if needs == Needs::Http2 {
                    return None;
                }
                let now = Instant::now();
                state.http1.retain(|idle| now.duration_since(idle.since) < fresh);
                state.http1.pop()?.connection
            };
            if connection.takes_requests(generation) {
                return Some(self.lease_http1(connection));
            }
        }
    }

    fn lease_new(self: &Arc<Self>, connection: HttpConnection, needs: Needs) -> Lease {
        let mut state = self.lock();
        state.failed = None;
        if needs != Needs::Http1 {
            state.multiplexes = matches!(connection, HttpConnection::Http2(_));
        }
        match connection {
            HttpConnection::Http1(connection) => self.lease_http1(connection),
            HttpConnection::Http2(connection) => {
                let place = connection.place();
                let shared = Idle { connection: connection.clone(), since: Instant::now() };
                state.http2.push(shared);
                Lease::Http2 { connection, _place: place }
            }
        }
    }

    fn lease_http1(self: &Arc<Self>, connection: Http1Connection) -> Lease {
        Lease::Http1 { connection, lent: self.lent() }
    }

    fn lent(self: &Arc<Self>) -> Lent {
        self.lent.fetch_add(1, Relaxed);
        Lent(Arc::clone(self))
    }

    fn put_back(&self, connection: Http1Connection) {
        if !connection.is_reusable() {
            return;
        }
        let mut state = self.lock();
        if state.http1.len() < MAX_IDLE {
            state.http1.push(Idle { connection, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
