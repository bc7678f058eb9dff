//! The load: workers that keep their connection, and workers that open one for each request or call; to the HTTP pair
//! and, by gRPC, to the other.
//!
//! Each worker waits for a response before it sends the next request, and sends no faster than its pace, so the load is
//! the same on a slow machine and on a fast one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::client::{Client, ServiceAddress};
use crate::connection::{Connection, Protocol, RequestError};
use crate::grpc_connection::{CallError, GrpcConnection};
use crate::leaf_tracker::LeafTracker;
use crate::load_stats::LoadStats;

/// Workers that keep their connection: at most 40 requests a second each.
const KEEP_ALIVE: [Protocol; 8] = {
    use Protocol::{Http1, Http2};
    [Http1, Http1, Http1, Http1, Http1, Http1, Http2, Http2]
};
const KEEP_ALIVE_PACE: Duration = Duration::from_millis(25);
/// Workers that open a connection for each request: at most 20 a second each.
const CONNECTING: usize = 3;
const CONNECTING_PACE: Duration = Duration::from_millis(50);
/// Workers that call by gRPC, at most 20 times a second each: whether each keeps its connection.
const CALLING: [bool; 4] = [true, true, true, false];
const CALLING_PACE: Duration = Duration::from_millis(50);

pub struct Load {
    workers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What the workers share.
#[derive(Clone)]
pub struct Target {
    pub service_address: ServiceAddress,
    pub client: Arc<Client>,
    pub leaf_tracker: Arc<LeafTracker>,
    pub load_stats: Arc<LoadStats>,
    pub grpc_address: ServiceAddress,
    pub grpc_stats: Arc<LoadStats>,
}

impl Load {
    pub fn start(target: &Target) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for (number, protocol) in KEEP_ALIVE.into_iter().enumerate() {
            let pace = pace(KEEP_ALIVE_PACE, number, KEEP_ALIVE.len());
            workers.spawn(keep_alive(target.clone(), protocol, pace, stopped.clone()));
        }
        for number in 0..CONNECTING {
            let pace = pace(CONNECTING_PACE, number, CONNECTING);
            workers.spawn(connect_each(target.clone(), pace, stopped.clone()));
        }
        for (number, keeps) in CALLING.into_iter().enumerate() {
            let pace = pace(CALLING_PACE, number, CALLING.len());
            workers.spawn(call(target.clone(), keeps, pace, stopped.clone()));
        }
        Self { workers, stop }
    }

    /// Ends when the last request in flight is answered.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.workers.join_all().await;
    }
}

/// One worker's pace, offset so that the workers do not all send at the same moment.
fn pace(every: Duration, worker: usize, of: usize) -> Interval {
    let mut pace = interval_at(tokio::time::Instant::now() + every * worker as u32 / of as u32, every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn keep_alive(target: Target, protocol: Protocol, mut pace: Interval, stopped: watch::Receiver<bool>) {
    let mut connection = None;
    let mut kept = false;
    loop {
        pace.tick().await;
        if *stopped.borrow() {
            return;
        }
        if let Some(open) = &mut connection
            && !Connection::is_open(open).await
        {
            connection = None;
        }
        if connection.is_none() {
            connection = target.open(protocol).await;
            kept = false;
        }
        let Some(open) = &mut connection else { continue };
        let leaf = target.leaf_tracker.number(&open.leaf);
        let superseded = leaf.is_some_and(|leaf| leaf < target.load_stats.latest_served());
        let begun = Instant::now();
        match open.get().await {
            Ok(()) => {
                target.load_stats.answered(begun);
                if superseded && !std::mem::replace(&mut kept, true) {
                    target.load_stats.kept();
                }
            }
            Err(error @ RequestError::ClosedIdle(_)) => {
                target.load_stats.retried(format!("{protocol} connection {error}"));
                connection = target.open(protocol).await;
                kept = false;
                if let Some(open) = &mut connection {
                    target.request(open).await;
                }
            }
            Err(error) => {
                target.load_stats.failed(format!("{protocol} request: {error}"));
                connection = None;
            }
        }
    }
}

async fn connect_each(target: Target, mut pace: Interval, stopped: watch::Receiver<bool>) {
    loop {
        pace.tick().await;
        if *stopped.borrow() {
            return;
        }
        if let Some(mut connection) = target.open(Protocol::Http1).await {
            target.request(&mut connection).await;
        }
    }
}

async fn call(target: Target, keeps: bool, mut pace: Interval, stopped: watch::Receiver<bool>) {
    let mut connection = None;
    loop {
        pace.tick().await;
        if *stopped.borrow() {
            return;
        }
        if let Some(open) = &mut connection
            && !GrpcConnection::is_open(open).await
        {
            connection = None;
        }
        if connection.is_none() {
            connection = target.open_grpc().await;
        }
        let Some(open) = &mut connection else { continue };
        let begun = Instant::now();
        let mut called = open.call().await;
        if let Err(error @ CallError::NotSent(_)) = &called {
            target.grpc_stats.retried(format!("gRPC connection {error}"));
            connection = target.open_grpc().await;
            let Some(open) = &mut connection else { continue };
            called = open.call().await;
        }
        match called {
            Ok(()) => target.grpc_stats.answered(begun),
            Err(error) => {
                target.grpc_stats.failed(format!("gRPC call: {error}"));
                connection = None;
            }
        }
        connection = connection.filter(|_| keeps);
    }
}

impl Target {
    async fn open_grpc(&self) -> Option<GrpcConnection> {
        match GrpcConnection::open(&self.client, &self.grpc_address).await {
            Ok(connection) => {
                self.grpc_stats.opened();
                Some(connection)
            }
            Err(error) => {
                self.grpc_stats.failed(format!("new gRPC connection: {error}"));
                None
            }
        }
    }

    /// A connection that cannot be opened is a failed request.
    async fn open(&self, protocol: Protocol) -> Option<Connection> {
        match Connection::open(&self.client, &self.service_address, protocol).await {
            Ok(connection) => {
                self.load_stats.opened();
                Some(connection)
            }
            Err(error) => {
                self.load_stats.failed(format!("new connection: {error}"));
                None
            }
        }
    }

    async fn request(&self, connection: &mut Connection) {
        let begun = Instant::now();
        match connection.get().await {
            Ok(()) => self.load_stats.answered(begun),
            Err(error) => self.load_stats.failed(format!("request on a new connection: {error}")),
        }
    }
}
