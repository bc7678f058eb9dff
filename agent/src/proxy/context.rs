//! What every data path shares: the current identity, the tracker, limits and counters.

use std::sync::Arc;
use std::time::Duration;

use hotcert_log::LogLimiter;
use hyper::header::HeaderValue;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::connection::handshake::result::HandshakeCounters;
use crate::connection::memory::{MemoryBudget, Share};
use crate::connection::tasks::ConnectionTasks;
use crate::connection::tracked_stream::ByteCounters;
use crate::connection::tracker::{ConnectionTracker, Side};
use crate::proxy::access_log::{AccessLog, ObservedRoute};
use crate::proxy::authorization::NotAllowed;
use crate::proxy::http::exchange::Retry;
use crate::proxy::inbound::TrustedClients;
use crate::proxy::inbound::app_connections::AppConnections;
use crate::proxy::outbound::addresses::FailedAddresses;
use crate::proxy::request_latency::RequestLatencies;
use hotcert_tls::Identities;

pub struct ProxyContext {
    pub identities: Identities,
    pub tracker: ConnectionTracker,
    pub handshakes: HandshakeCounters,
    pub requests: RequestCounters,
    pub latencies: RequestLatencies,
    pub access_log: Option<AccessLog>,
    pub not_allowed: NotAllowed,
    pub inbound_bytes: ByteCounters,
    pub outbound_bytes: ByteCounters,
    pub timeouts: Timeouts,
    pub failed_addresses: FailedAddresses,
    /// The value of Strict-Transport-Security in responses to inbound clients.
    pub hsts: Option<HeaderValue>,
    /// Inbound clients whose word on where a request comes from is passed on.
    pub trusted_clients: TrustedClients,
    /// With those in the tracker they are what file descriptors are counted for.
    pub app_connections: Arc<AppConnections>,
    /// Clients' connections to inbound listeners.
    pub inbound_tasks: ConnectionTasks,
    /// The app's connections to outbound listeners.
    pub outbound_tasks: ConnectionTasks,
    pub log_limiter: LogLimiter,
    pub memory: Arc<MemoryBudget>,
    /// The share of the app in it, on all outbound listeners.
    pub app_memory: Arc<Share>,
}

impl ProxyContext {
    /// What sees the traffic of a route that listens on `name`. `upstream`: where it leads, if not each request says so.
    pub fn observe(&self, side: Side, name: String, upstream: Option<String>) -> Arc<ObservedRoute> {
        let latency = self.latencies.route(side, &name);
        Arc::new(ObservedRoute { side, name, upstream, latency, log: self.access_log })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub handshake: Duration,
    pub connect: Duration,
    /// Until the app or a server begins its response. `None`: as long as it takes.
    pub response: Option<Duration>,
}

/// Bytes by side and direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByteLabels {
    pub side: &'static str,
    pub direction: &'static str,
}

/// Proxied HTTP requests by side and class of status code.
#[derive(Clone)]
pub struct RequestCounters {
    inbound: [Counter; 5],
    outbound: [Counter; 5],
    pub family: Family<RequestLabels, Counter>,
    /// Those that the agent answered itself.
    pub refused: Family<RefusedLabels, Counter>,
    /// Those that were sent again, by reason.
    pub retried: Family<RefusedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub side: &'static str,
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    pub side: &'static str,
    pub reason: &'static str,
}

impl RequestCounters {
    pub fn new() -> Self {
        let family: Family<RequestLabels, Counter> = Family::default();
        let classes = |side: Side| {
            ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|code| family.get_or_create(&RequestLabels { side: side.as_str(), code }).clone())
        };
        Self {
            inbound: classes(Side::Inbound),
            outbound: classes(Side::Outbound),
            family: family.clone(),
            refused: Family::default(),
            retried: Family::default(),
        }
    }

    /// A request that the agent answered itself.
    pub fn count_refused(&self, side: Side, status: hyper::StatusCode, reason: &'static str) {
        self.count(side, status);
        self.refused.get_or_create(&RefusedLabels { side: side.as_str(), reason }).inc();
    }

    pub fn count_retry(&self, side: Side, reason: Retry) {
        let labels = RefusedLabels { side: side.as_str(), reason: reason.as_str() };
        self.retried.get_or_create(&labels).inc();
    }

    pub fn count(&self, side: Side, status: hyper::StatusCode) {
        let classes = match side {
            Side::Inbound => &self.inbound,
            // What the app asks is counted as what is sent for it.
            Side::Outbound | Side::App => &self.outbound,
        };
        classes[usize::from((status.as_u16() / 100).clamp(1, 5) - 1)].inc();
    }
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self::new()
    }
}
