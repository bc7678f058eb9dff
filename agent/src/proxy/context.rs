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
use crate::proxy::authorization::NotAllowed;
use crate::proxy::inbound::app_connections::AppConnections;
use hotcert_tls::{HandshakeLimiter, Identities};

pub struct ProxyContext {
    pub identities: Identities,
    pub tracker: ConnectionTracker,
    pub handshakes: HandshakeCounters,
    pub requests: RequestCounters,
    pub not_allowed: NotAllowed,
    pub inbound_bytes: ByteCounters,
    pub outbound_bytes: ByteCounters,
    pub timeouts: Timeouts,
    /// The value of Strict-Transport-Security in responses to inbound clients.
    pub hsts: Option<HeaderValue>,
    /// Inbound clients whose handshake is not complete.
    pub handshake_limiter: HandshakeLimiter,
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

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub handshake: Duration,
    pub connect: Duration,
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
        }
    }

    /// A request that the agent answered itself.
    pub fn count_refused(&self, side: Side, status: hyper::StatusCode, reason: &'static str) {
        self.count(side, status);
        self.refused.get_or_create(&RefusedLabels { side: side.as_str(), reason }).inc();
    }

    /// A request that could not be read, which hyper answered.
    pub fn count_malformed(&self, side: Side) {
        self.count_refused(side, hyper::StatusCode::BAD_REQUEST, "malformed");
    }

    pub fn count(&self, side: Side, status: hyper::StatusCode) {
        let classes = match side {
            Side::Inbound => &self.inbound,
            Side::Outbound => &self.outbound,
        };
        classes[usize::from((status.as_u16() / 100).clamp(1, 5) - 1)].inc();
    }
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self::new()
    }
}
