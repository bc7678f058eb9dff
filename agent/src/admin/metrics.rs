//! Prometheus metrics. Counters are incremented where things happen; everything that follows from the
//! current state is computed when the metrics are scraped, so that it cannot become stale.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use hotcert_log::{DroppedLines, exposition};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::admin::connections::Refusals;
use crate::admin::health::Health;
use crate::admin::reload_counters::ReloadCounters;
use crate::connection::tracked_stream::ByteCounters;
use crate::connection::tracker::{ConnectionTracker, Side};
use crate::proxy::context::{ByteLabels, ProxyContext};
use hotcert_tls::ApiState;
use hotcert_tls::identity::{Leaf, Trust};

/// Roots that get a series each; a bundle with more is a mistake, not a reason for more series.
const MAX_ROOTS: usize = 32;

/// For a series that may be absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

type FloatGauge = Gauge<f64, AtomicU64>;

pub struct Metrics {
    registry: Registry,
    health: Health,
    runtimes: Vec<Handle>,
    leaf: LeafGauges,
    roots: RootGauges,
    connections: Family<ConnectionLabels, Gauge>,
    connections_limit: Gauge,
    app_connections: Gauge,
    ready: Gauge,
    generation: Gauge,
    peer_not_after: Family<NoLabels, FloatGauge>,
    api_watch: Family<NoLabels, Gauge>,
    directory_hanging: Family<NoLabels, FloatGauge>,
    app_exposed: Gauge,
    memory_in_use: Gauge,
    tasks: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    side: &'static str,
    generation: &'static str,
}

pub type ByteFamily = Family<ByteLabels, Counter>;

/// The family to register, and the counters of both sides.
pub fn byte_counters() -> (ByteFamily, ByteCounters, ByteCounters) {
    let family = ByteFamily::default();
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
        bytes: ByteFamily,
        refusals: &Refusals,
        runtimes: Vec<Handle>,
    ) -> Self {
        let mut registry = Registry::with_prefix("hotcert");
        let r = &mut registry;
        r.register("build", "Version of this agent", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let ready = registered(r, "ready", "1 if /readyz answers 200");
        let generation = registered(r, "generation", "Identities published since start");
        let leaf = LeafGauges::register(r);
        let roots = RootGauges::register(r);
        register_reloads(r, &health);
        let api_watch =
            registered(r, "api_watch", "1 while the Secret is being watched through the Kubernetes API");
        let directory_hanging = registered(
            r,
            "directory_hanging_seconds",
            "For how long the identity directory has not answered; absent while it does",
        );
        let connections = registered(
            r,
            "connections_open",
            "Open TLS connections by side and the generation they were made under",
        );
        let connections_limit = registered(
            r,
            "connections_limit",
            "TLS connections that each side may have; with routes on both sides a quarter of --max-connections is kept for the other",
        );
        let app_connections = registered(r, "app_connections_open", "Open connections to the app");
        register_data_path(r, context, bytes);
        r.register_collector(DroppedLines::collector(
            "log_lines_dropped",
            "Log lines that did not reach standard error, by reason",
        ));
        r.register_collector(DroppedLines::of_output(
            "access_log_lines_dropped",
            "Lines of the access log that did not reach standard output, by reason",
        ));
        refusals.register(r);
        let peer_not_after = registered(
            r,
            "peer_earliest_not_after_timestamp_seconds",
            "The earliest end of validity among peers' leaves",
        );
        let app_exposed = registered(
            r,
            "app_exposed",
            "Addresses beyond loopback that the app listens on, where clients can bypass the agent",
        );
        let memory_in_use = register_memory(r, context);
        let tasks = registered(r, "tasks", "Tasks alive in the agent");
        Self {
            registry,
            health,
            runtimes,
            leaf,
            roots,
            connections,
            connections_limit,
            app_connections,
            ready,
            generation,
            peer_not_after,
            api_watch,
            directory_hanging,
            app_exposed,
            memory_in_use,
            tasks,
        }
    }

    /// The current state in the format that is asked for, after its content type.
    pub fn render(&self, accept: Option<&str>, now: SystemTime) -> (&'static str, String) {
        self.refresh(now);
        exposition::render(&self.registry, accept)
    }

    fn refresh(&self, now: SystemTime) {
        let context = &self.health.context;
        let snapshot = context.identities.current();
        let generation = snapshot.as_ref().map_or(0, |snapshot| snapshot.generation);
        self.ready.set(self.health.unready(now).is_none().into());
        self.generation.set(generation as i64);
        self.leaf.refresh(snapshot.as_ref().map(|snapshot| &*snapshot.identity.leaf), now);
        self.roots.refresh(snapshot.as_ref().and_then(|snapshot| snapshot.identity.trust.as_deref()));
        self.refresh_connections(&context.tracker, generation);
        self.connections_limit.set(context.tracker.max_connections() as i64);
        self.app_connections.set(context.app_connections.open() as i64);
        set_or_remove(&self.peer_not_after, context.identities.earliest_peer_expiry().map(seconds));
        self.tasks.set(self.runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks() as i64).sum());
        self.memory_in_use.set(context.memory.in_use() as i64);
        self.app_exposed.set(self.health.status.report().exposed.len() as i64);
        let source = context.identities.status().source;
        let hanging = source.hanging_since.map(|since| since.elapsed().as_secs_f64());
        set_or_remove(&self.directory_hanging, hanging);
        self.api_watch.clear();
        if let Some(api) = source.api {
            self.api_watch.get_or_create(&NoLabels {}).set((api.state == ApiState::Watching).into());
        }
    }

    fn refresh_connections(&self, tracker: &ConnectionTracker, generation: u64) {
        for side in [Side::Inbound, Side::Outbound] {
            let count = tracker.count(side, generation);
            for (generation, count) in
                [("current", count.current), ("previous", count.previous), ("older", count.older)]
            {
                let labels = ConnectionLabels { side: side.as_str(), generation };
                self.connections.get_or_create(&labels).set(count as i64);
            }
        }
    }
}

fn register_reloads(registry: &mut Registry, health: &Health) {
    registry.register_collector(ReloadCounters::candidates(
        "reloads",
        "Candidates by outcome, and why they were not taken",
        &health.context.identities,
    ));
    registry.register_collector(ReloadCounters::api_failures(
        "api_failures",
        "Times the watch on the Secret was lost or could not begin, by reason",
        &health.context.identities,
    ));
    registry.register(
        "swap_to_served_seconds",
        "From the change of the source to a handshake that presents the new leaf",
        health.status.swap_to_served.clone(),
    );
}

fn register_data_path(registry: &mut Registry, context: &ProxyContext, bytes: ByteFamily) {
    registry.register("handshakes", "TLS handshakes by side and result", context.handshakes.0.clone());
    registry.register(
        "not_allowed",
        "Clients whose certificate is verified but not on the allow list, by the address of the route",
        context.not_allowed.clone(),
    );
    registry.register(
        "connections_closed",
        "Ended connections by side and reason",
        context.tracker.closed().clone(),
    );
    registry.register(
        "app_connections_refused",
        "Requests and connections that got no connection to the app, because their client has its share of them or none was free",
        context.app_connections.refused.clone(),
    );
    registry.register(
        "failed_addresses",
        "Addresses of servers that refused a connection, or did not answer while another did",
        context.failed_addresses.count.clone(),
    );
    registry.register("bytes", "Application bytes carried over TLS connections", bytes);
    registry.register(
        "proxied_requests",
        "HTTP requests by side and class of status code",
        context.requests.family.clone(),
    );
    registry.register_collector(context.latencies.collector(
        "request_duration_seconds",
        "From the complete head of an HTTP request to the end of its response, by side, listener and protocol",
    ));
    registry.register(
        "refused_requests",
        "HTTP requests that the agent answered itself, by side and reason",
        context.requests.refused.clone(),
    );
    registry.register(
        "retried_requests",
        "HTTP requests that were sent again because a pooled connection had ended, by side and reason",
        context.requests.retried.clone(),
    );
}

/// Returns what is computed when the metrics are scraped.
fn register_memory(registry: &mut Registry, context: &ProxyContext) -> Gauge {
    let memory = &context.memory;
    let budget: Gauge =
        registered(registry, "memory_budget_bytes", "Memory for requests and responses that wait");
    budget.set(memory.limit() as i64);
    registry.register(
        "memory_waits",
        "Requests that waited because their client held its share of the memory budget",
        memory.waited.clone(),
    );
    registered(registry, "memory_in_use_bytes", "What is in use of the memory budget")
}

/// The served leaf; absent while there is none.
struct LeafGauges {
    not_after: Family<NoLabels, FloatGauge>,
    not_before: Family<NoLabels, FloatGauge>,
    age: Family<NoLabels, FloatGauge>,
}

impl LeafGauges {
    fn register(registry: &mut Registry) -> Self {
        Self {
            not_after: registered(
                registry,
                "leaf_not_after_timestamp_seconds",
                "End of validity of the served leaf",
            ),
            not_before: registered(
                registry,
                "leaf_not_before_timestamp_seconds",
                "Start of validity of the served leaf",
            ),
            age: registered(registry, "leaf_age_seconds", "Time since the not-before of the served leaf"),
        }
    }

    fn refresh(&self, leaf: Option<&Leaf>, now: SystemTime) {
        set_or_remove(&self.not_after, leaf.map(|leaf| seconds(leaf.not_after)));
        set_or_remove(&self.not_before, leaf.map(|leaf| seconds(leaf.not_before)));
        set_or_remove(&self.age, leaf.map(|leaf| seconds(now) - seconds(leaf.not_before)));
    }
}

/// The trusted roots.
struct RootGauges {
    not_after: Family<RootLabels, FloatGauge>,
    not_before: Family<RootLabels, FloatGauge>,
    lists_until: Family<IssuerLabels, FloatGauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RootLabels {
    root: String,
}

impl RootGauges {
    fn register(registry: &mut Registry) -> Self {
        Self {
            not_after: registered(
                registry,
                "root_not_after_timestamp_seconds",
                "End of validity of each trusted root, by the start of its SHA-256",
            ),
            not_before: registered(
                registry,
                "root_not_before_timestamp_seconds",
                "Start of validity of each trusted root, by the start of its SHA-256",
            ),
            lists_until: registered(
                registry,
                "revocation_list_usable_until_timestamp_seconds",
                "From when on the revocation list of each authority is out of date and nobody under it is trusted",
            ),
        }
    }

    fn refresh(&self, trust: Option<&Trust>) {
        self.not_after.clear();
        self.not_before.clear();
        self.lists_until.clear();
        let revocation = trust.and_then(|trust| trust.revocation.as_ref());
        for list in revocation.into_iter().flat_map(|revocation| &revocation.lists).take(MAX_ROOTS) {
            let labels = IssuerLabels { issuer: list.issuer.clone() };
            // Two roots of one name have a list each.
            let gauge = self.lists_until.get_or_create(&labels);
            let until = seconds(list.usable_until());
            gauge.set(if gauge.get() > 0.0 { gauge.get().min(until) } else { until });
        }
        for root in trust.into_iter().flat_map(|trust| &trust.roots).take(MAX_ROOTS) {
            let labels = RootLabels { root: root.sha256[..16].to_owned() };
            self.not_after.get_or_create(&labels).set(seconds(root.not_after));
            self.not_before.get_or_create(&labels).set(seconds(root.not_before));
        }
    }
}

fn registered<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// The series exists only while there is a value, so that no alert fires on a zero.
fn set_or_remove(family: &Family<NoLabels, FloatGauge>, value: Option<f64>) {
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
