//! What the agent's own parts report for health and metrics to show: the self-check, the bypass check and
//! the drain. What the reload loop reports is in its own status.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Shared between the parts that report and those that show it.
#[derive(Clone)]
pub struct AgentStatus {
    report: Arc<Mutex<AgentReport>>,
    pub swap_to_served: Histogram,
}

#[derive(Clone, Debug, Default)]
pub struct AgentReport {
    pub self_check: Option<SelfCheck>,
    /// Where the app listens beyond loopback.
    pub exposed: Vec<SocketAddr>,
    /// Set on SIGTERM, never taken back.
    pub draining: bool,
}

/// The result of the agent's connection to its own listener.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    pub generation: u64,
    pub at: SystemTime,
    /// `Ok(None)`: the identity cannot serve, so no connection was made.
    pub result: Result<Option<ServedLeaf>, String>,
}

#[derive(Clone, Debug)]
pub struct ServedLeaf {
    pub sha256: String,
    /// From the source's change to this handshake. `None` for what was there at start.
    pub swap_to_served_seconds: Option<f64>,
}

impl AgentStatus {
    pub fn new() -> Self {
        Self { report: Arc::default(), swap_to_served: Histogram::new(exponential_buckets(0.0005, 2.0, 18)) }
    }

    pub fn report(&self) -> AgentReport {
        self.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut AgentReport)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, AgentReport> {
        // A panic in between leaves a report that can still be read.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AgentStatus {
    fn default() -> Self {
        Self::new()
    }
}
