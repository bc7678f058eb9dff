//! The order of a drain, over a real tracker.

#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::connection::tasks::ConnectionTasks;
use crate::connection::tracker::{Connection, Protocol};
use crate::proxy_fixture::{DEADLINE, context, identity, publish, root, until};
use hotcert_tls::Snapshot;

const MILLISECOND: Duration = Duration::from_millis(1);

struct Draining {
    context: Arc<ProxyContext>,
    status: AgentStatus,
    snapshot: Arc<Snapshot>,
    drain: JoinHandle<()>,
    inbound: JoinHandle<()>,
    outbound: JoinHandle<()>,
}

impl Draining {
    fn open(&self, protocol: Protocol) -> Connection {
        open(&self.context, &self.snapshot, protocol)
    }

    fn is_draining(&self) -> bool {
        self.status.report().draining
    }

    /// Waits until the drain is over and every listener is told to stop.
    async fn finish(self) {
        timeout(DEADLINE, self.drain).await.unwrap().unwrap();
        timeout(DEADLINE, self.inbound).await.unwrap().unwrap();
        timeout(DEADLINE, self.outbound).await.unwrap().unwrap();
    }
}

fn open(context: &ProxyContext, snapshot: &Snapshot, protocol: Protocol) -> Connection {
    context.tracker.open(Side::Inbound, protocol, snapshot, None).unwrap()
}

/// Starts a drain after `before` has opened what is open at SIGTERM.
fn drain<T>(times: ShutdownTimes, before: impl FnOnce(&ProxyContext, &Snapshot) -> T) -> (Draining, T) {
    let root = root("root");
    let (mut publisher, context) = context();
    let snapshot = publish(&mut publisher, &identity(&root, &[&root]));
    let opened = before(&context, &snapshot);
    let status = AgentStatus::new();
    let drain = Drain { times, has_outbound: true, context: Arc::clone(&context), status: status.clone() };
    let stopped = |tasks: &ConnectionTasks| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.stopped().await })
    };
    let (inbound, outbound) = (stopped(&context.inbound_tasks), stopped(&context.outbound_tasks));
    let draining =
        Draining { context, status, snapshot, drain: tokio::spawn(drain.run()), inbound, outbound };
    (draining, opened)
}

#[tokio::test]
async fn unready_first_then_inbound_closed_then_drained_then_outbound_closed() {
    let times =
        ShutdownTimes { delay: 300 * MILLISECOND, grace: DEADLINE, outbound_linger: 100 * MILLISECOND };
    let (draining, old) = drain(times, |context, snapshot| {
        let outbound = context.outbound_tasks.spawn(pending());
        (open(context, snapshot, Protocol::Http1), outbound)
    });
    let (http, app) = old;
    until(|| draining.is_draining()).await;
    // During the delay: clients are asked to leave, new ones are still accepted.
    until(|| http.close_stage() == CloseStage::LastRequest).await;
    assert!(!draining.inbound.is_finished() && !draining.outbound.is_finished());
    let late = draining.open(Protocol::Http1);
    assert_eq!(late.close_stage(), CloseStage::LastRequest);
    // After it: no new clients, and idle ones close.
    until(|| draining.inbound.is_finished()).await;
    until(|| late.close_stage() == CloseStage::Finish).await;
    assert!(!draining.outbound.is_finished() && !draining.drain.is_finished());
    // A client whose handshake was in progress then is closed too.
    let last = draining.open(Protocol::Http1);
    assert_eq!(last.close_stage(), CloseStage::Finish);
    // The app's outbound connections keep the agent, even without inbound ones.
    drop((http, late, last));
    tokio::time::sleep(4 * times.outbound_linger).await;
    assert!(!draining.outbound.is_finished() && !draining.drain.is_finished());
    let closed = Instant::now();
    app.abort();
    draining.finish().await;
    assert!(closed.elapsed() >= times.outbound_linger, "outbound lingers for connections to come");
}

#[tokio::test]
async fn open_connections_do_not_outlast_the_grace_period() {
    let times =
        ShutdownTimes { delay: 50 * MILLISECOND, grace: 200 * MILLISECOND, outbound_linger: DEADLINE };
    let started = Instant::now();
    let (draining, _tcp) = drain(times, |context, snapshot| open(context, snapshot, Protocol::Tcp));
    draining.finish().await;
    assert!(started.elapsed() >= times.grace && started.elapsed() < DEADLINE);
}

#[tokio::test]
async fn delay_ends_with_the_grace_period() {
    let times = ShutdownTimes { delay: DEADLINE, grace: 100 * MILLISECOND, outbound_linger: DEADLINE };
    let (draining, ()) = drain(times, |_, _| ());
    draining.finish().await;
}

#[tokio::test]
async fn waits_for_a_handshake_that_was_in_progress() {
    let times = ShutdownTimes { delay: Duration::ZERO, grace: DEADLINE, outbound_linger: Duration::ZERO };
    let started = Instant::now();
    let (draining, handshake) = drain(times, |context, _| context.inbound_tasks.spawn(pending()));
    until(|| draining.inbound.is_finished()).await;
    tokio::time::sleep(100 * MILLISECOND).await;
    assert!(!draining.drain.is_finished());
    handshake.abort();
    draining.finish().await;
    assert!(started.elapsed() < DEADLINE);
}

#[tokio::test]
async fn each_outbound_connection_begins_the_linger_again() {
    let times = ShutdownTimes { delay: Duration::ZERO, grace: DEADLINE, outbound_linger: 300 * MILLISECOND };
    let (draining, ()) = drain(times, |_, _| ());
    let mut last = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(200 * MILLISECOND).await;
        assert!(!draining.drain.is_finished());
        last = Instant::now();
        draining.context.outbound_tasks.spawn(std::future::ready(()));
    }
    draining.finish().await;
    assert!(last.elapsed() >= times.outbound_linger && last.elapsed() < DEADLINE);
}
