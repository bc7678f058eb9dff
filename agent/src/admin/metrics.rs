//! Prometheus metrics. Counters are kept where things happen; everything that follows from the
//! current state is worked out when asked for, so that it cannot go stale.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::admin::health::Health;
use crate::admin::reload_counters::ReloadCounters;
use crate::connection::buffered_stream::ByteCounters;
use crate::connection::tracker::Side;
use crate::proxy::context::{ByteLabels, ProxyContext};
use crate::tls::source::kubernetes::ApiState;

/// Roots that get a series each; a bundle with more is a mistake, not a reason for more series.
const MAX_ROOTS: usize = 32;

/// For a series that may be absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

type FloatGauge = Gauge<f64, AtomicU64>;

pub struct Metrics {
    registry: Registry,
    health: Health,
    ready: Gauge,
    generation: Gauge,
    leaf_not_after: Family<NoLabels, FloatGauge>,
    leaf_not_before: Family<NoLabels, FloatGauge>,
    leaf_age: Family<NoLabels, FloatGauge>,
    root_not_after: Family<RootLabels, FloatGauge>,
    root_not_before: Family<RootLabels, FloatGauge>,
    connections: Family<ConnectionLabels, Gauge>,
    peer_not_after: Family<NoLabels, FloatGauge>,
    api_watch: Family<NoLabels, Gauge>,
    app_exposed: Gauge,
    tasks: Gauge,
    runtimes: Vec<tokio::runtime::Handle>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RootLabels {
    root: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    side: &'static str,
    generation: &'static str,
}

/// Bytes of both sides, to be registered and to be counted into.
pub fn traffic() -> (Family<ByteLabels, Counter>, ByteCounters, ByteCounters) {
    let family: Family<ByteLabels, Counter> = Family::default();
    let of = |side: Side| {
        let counter =
            |direction| family.get_or_create(&ByteLabels { side: side.as_str(), direction }).clone();
        ByteCounters { received: counter("received"), sent: counter("sent") }
    };
    let (inbound, outbound) = (of(Side::Inbound), of(Side::Outbound));
    (family, inbound, outbound)
}

impl Metrics {
    pub fn new(
        health: Health,
        context: &Arc<ProxyContext>,
        bytes: Family<ByteLabels, Counter>,
        runtimes: Vec<tokio::runtime::Handle>,
    ) -> Self {
        let mut registry = Registry::with_prefix("hotcert");
        let metrics = Self {
            ready: Gauge::default(),
            generation: Gauge::default(),
            leaf_not_after: Family::default(),
            leaf_not_before: Family::default(),
            leaf_age: Family::default(),
            root_not_after: Family::default(),
            root_not_before: Family::default(),
            connections: Family::default(),
            peer_not_after: Family::default(),
            api_watch: Family::default(),
            app_exposed: Gauge::default(),
            tasks: Gauge::default(),
            registry: Registry::default(),
            health,
            runtimes,
        };
        let r = &mut registry;
        r.register("build", "Version of this agent", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register("ready", "1 if /readyz answers 200", metrics.ready.clone());
        r.register("generation", "Identities published since start", metrics.generation.clone());
        r.register(
            "leaf_not_after_timestamp_seconds",
            "End of validity of the served leaf",
            metrics.leaf_not_after.clone(),
        );
        r.register(
            "leaf_not_before_timestamp_seconds",
            "Start of validity of the served leaf",
            metrics.leaf_not_before.clone(),
        );
        r.register(
            "leaf_age_seconds",
            "Time since the not-before of the served leaf",
            metrics.leaf_age.clone(),
        );
        r.register(
            "root_not_after_timestamp_seconds",
            "End of validity of each trusted root, by the start of its SHA-256",
            metrics.root_not_after.clone(),
        );
        r.register(
            "root_not_before_timestamp_seconds",
            "Start of validity of each trusted root, by the start of its SHA-256",
            metrics.root_not_before.clone(),
        );
        let reload = &metrics.health.reload;
        r.register_collector(ReloadCounters::candidates(
            "reloads",
            "Candidates by outcome, and why they were not taken",
            reload,
        ));
        r.register(
            "swap_to_served_seconds",
            "From the change of the source to a handshake that shows the new leaf",
            metrics.health.status.swap_to_served.clone(),
        );
        r.register(
            "api_watch",
            "1 while the Secret is being watched through the Kubernetes API",
            metrics.api_watch.clone(),
        );
        r.register_collector(ReloadCounters::api_failures(
            "api_failures",
            "Times the watch on the Secret was lost or could not begin, by reason",
            reload,
        ));
        r.register("handshakes", "TLS handshakes by side and result", context.handshakes.0.clone());
        r.register(
            "connections_open",
            "Open TLS connections by side and the generation they were made under",
            metrics.connections.clone(),
        );
        r.register("connections_closed", "Ended connections, and why", context.tracker.closed().clone());
        r.register("bytes", "Bytes carried over TLS connections, without TLS itself", bytes);
        r.register(
            "proxied_requests",
            "HTTP requests by side and class of status code",
            context.requests.family.clone(),
        );
        r.register(
            "peer_earliest_not_after_timestamp_seconds",
            "The earliest end of validity among peers' leaves",
            metrics.peer_not_after.clone(),
        );
        r.register(
            "app_exposed",
            "Addresses beyond loopback that the app listens on, where it is reached around the agent",
            metrics.app_exposed.clone(),
        );
        r.register("tasks", "Tasks alive in the agent", metrics.tasks.clone());
        Self { registry, ..metrics }
    }

    /// The state of now in the Prometheus (OpenMetrics) text format.
    pub fn render(&self, now: SystemTime) -> String {
        self.refresh(now);
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    fn refresh(&self, now: SystemTime) {
        let context = &self.health.context;
        let snapshot = context.current.load();
        self.ready.set(self.health.unready(now).is_none().into());
        self.tasks.set(self.runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks() as i64).sum());
        set_or_leave_out(&self.peer_not_after, context.peers.earliest_not_after().map(seconds));
        let generation = snapshot.as_ref().map_or(0, |snapshot| snapshot.generation);
        self.generation.set(generation as i64);
        for side in [Side::Inbound, Side::Outbound] {
            let count = context.tracker.count(side, generation);
            for (generation, count) in
                [("current", count.current), ("previous", count.previous), ("older", count.older)]
            {
                let labels = ConnectionLabels { side: side.as_str(), generation };
                self.connections.get_or_create(&labels).set(count as i64);
            }
        }
        self.app_exposed.set(self.health.status.report().exposed.len() as i64);
        self.api_watch.clear();
        if let Some(api) = self.health.reload.report().source.api {
            self.api_watch.get_or_create(&NoLabels {}).set((api.state == ApiState::Watching).into());
        }
        let leaf = snapshot.as_ref().map(|snapshot| &snapshot.identity.leaf);
        set_or_leave_out(&self.leaf_not_after, leaf.map(|leaf| seconds(leaf.not_after)));
        set_or_leave_out(&self.leaf_not_before, leaf.map(|leaf| seconds(leaf.not_before)));
        set_or_leave_out(&self.leaf_age, leaf.map(|leaf| seconds(now) - seconds(leaf.not_before)));
        self.root_not_after.clear();
        self.root_not_before.clear();
        let trust = snapshot.iter().filter_map(|snapshot| snapshot.identity.trust.as_ref());
        for root in trust.flat_map(|trust| &trust.roots).take(MAX_ROOTS) {
            let labels = RootLabels { root: root.sha256[..16].to_owned() };
            self.root_not_after.get_or_create(&labels).set(seconds(root.not_after));
            self.root_not_before.get_or_create(&labels).set(seconds(root.not_before));
        }
    }
}

/// A series that is there only while there is something to tell, so that no alert fires on a zero.
fn set_or_leave_out(family: &Family<NoLabels, FloatGauge>, value: Option<f64>) {
    match value {
        Some(value) => {
            family.get_or_create(&NoLabels {}).set(value);
        }
        None => family.clear(),
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
