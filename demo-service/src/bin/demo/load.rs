//! The load: keep-alive connections and a connection a request, from outside, all the time.
//!
//! Each worker waits for its answer before it asks again, and no faster than its pace, so the load
//! is the same on a slow machine and on a fast one, and never outruns either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::connection::{Connection, Protocol, RequestError};
use crate::outside::{Front, Outside};
use crate::sightings::Sightings;
use crate::tally::Tally;

/// Workers that keep their connection: each 40 requests a second at most.
const KEEPING: [Protocol; 8] = {
    use Protocol::{Http1, Http2};
    [Http1, Http1, Http1, Http1, Http1, Http1, Http2, Http2]
};
const KEEPING_PACE: Duration = Duration::from_millis(25);
/// Workers that open a connection a request: each 20 a second at most.
const OPENING: usize = 3;
const OPENING_PACE: Duration = Duration::from_millis(50);

pub struct Load {
    workers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What the workers share.
#[derive(Clone)]
pub struct Target {
    pub front: Front,
    pub outside: Arc<Outside>,
    pub sightings: Arc<Sightings>,
    pub tally: Arc<Tally>,
}

impl Load {
    pub fn start(target: &Target) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for (number, protocol) in KEEPING.into_iter().enumerate() {
            let pace = pace(KEEPING_PACE, number, KEEPING.len());
            workers.spawn(keep(target.clone(), protocol, pace, stopped.clone()));
        }
        for number in 0..OPENING {
            let pace = pace(OPENING_PACE, number, OPENING);
            workers.spawn(open_each(target.clone(), pace, stopped.clone()));
        }
        Self { workers, stop }
    }

    /// Ends when the last request in flight is answered.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.workers.join_all().await;
    }
}

/// One worker's pace, so that they do not all ask at the same moment.
fn pace(every: Duration, worker: usize, of: usize) -> Interval {
    let mut pace = interval_at(tokio::time::Instant::now() + every * worker as u32 / of as u32, every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn keep(target: Target, protocol: Protocol, mut pace: Interval, stopped: watch::Receiver<bool>) {
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
        let leaf = target.sightings.number(&open.leaf);
        let superseded = leaf.is_some_and(|leaf| leaf < target.tally.latest_served());
        let begun = Instant::now();
        match open.get().await {
            Ok(()) => {
                target.tally.answered(begun);
                if superseded && !std::mem::replace(&mut kept, true) {
                    target.tally.kept();
                }
            }
            Err(error @ RequestError::ClosedIdle(_)) => {
                target.tally.retried(format!("{protocol:?} connection {error}"));
                connection = target.open(protocol).await;
                kept = false;
                if let Some(open) = &mut connection {
                    target.ask(open).await;
                }
            }
            Err(error) => {
                target.tally.failed(format!("{protocol:?} request: {error}"));
                connection = None;
            }
        }
    }
}

async fn open_each(target: Target, mut pace: Interval, stopped: watch::Receiver<bool>) {
    loop {
        pace.tick().await;
        if *stopped.borrow() {
            return;
        }
        if let Some(mut connection) = target.open(Protocol::Http1).await {
            target.ask(&mut connection).await;
        }
    }
}

impl Target {
    /// A connection that cannot be opened is a failed request.
    async fn open(&self, protocol: Protocol) -> Option<Connection> {
        match Connection::open(&self.outside, &self.front, protocol).await {
            Ok(connection) => {
                self.tally.opened();
                Some(connection)
            }
            Err(error) => {
                self.tally.failed(format!("new connection: {error}"));
                None
            }
        }
    }

    async fn ask(&self, connection: &mut Connection) {
        let begun = Instant::now();
        match connection.get().await {
            Ok(()) => self.tally.answered(begun),
            Err(error) => self.tally.failed(format!("request on a new connection: {error}")),
        }
    }
}
