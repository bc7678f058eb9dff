//! What every data path shares: the current identity, the tracker, and what is counted.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::connection::buffered_stream::ByteCounters;
use crate::connection::handshake::Handshakes;
use crate::connection::limiter::Limiter;
use crate::connection::tracker::{ConnectionTracker, Side};
use crate::proxy::log_limiter::LogLimiter;
use crate::tls::peer::Peers;
use crate::tls::snapshot::Current;

pub struct ProxyContext {
    pub current: Current,
    pub tracker: ConnectionTracker,
    pub peers: Peers,
    pub handshakes: Handshakes,
    pub requests: Requests,
    pub inbound_bytes: ByteCounters,
    pub outbound_bytes: ByteCounters,
    pub timeouts: Timeouts,
    /// Inbound clients that have not finished their handshake.
    pub shaking_hands: Limiter,
    pub outbound_apps: OpenApps,
    pub log_limiter: LogLimiter,
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
pub struct Requests {
    inbound: [Counter; 5],
    outbound: [Counter; 5],
    pub family: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub side: &'static str,
    pub code: &'static str,
}

impl Requests {
    pub fn new() -> Self {
        let family: Family<RequestLabels, Counter> = Family::default();
        let classes = |side: Side| {
            ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|code| family.get_or_create(&RequestLabels { side: side.as_str(), code }).clone())
        };
        Self { inbound: classes(Side::Inbound), outbound: classes(Side::Outbound), family: family.clone() }
    }

    pub fn count(&self, side: Side, status: hyper::StatusCode) {
        let classes = match side {
            Side::Inbound => &self.inbound,
            Side::Outbound => &self.outbound,
        };
        classes[usize::from((status.as_u16() / 100).clamp(1, 5) - 1)].inc();
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

/// The app's open connections to outbound listeners.
#[derive(Clone, Default)]
pub struct OpenApps(Arc<AtomicUsize>);

impl OpenApps {
    pub fn enter(&self) -> OpenApp {
        self.0.fetch_add(1, Relaxed);
        OpenApp(Arc::clone(&self.0))
    }

    pub fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

pub struct OpenApp(Arc<AtomicUsize>);

impl Drop for OpenApp {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
