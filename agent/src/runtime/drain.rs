//! Draining: the agent becomes unready, goes on accepting while the pod leaves its endpoints, lets inbound
//! connections finish while outbound ones are still served, and cuts what is left when the grace period is
//! over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use humantime::format_duration;
use tracing::{info, warn};

use crate::admin::agent_status::AgentStatus;
use crate::config::settings::ShutdownTimes;
use crate::connection::stop::Stopper;
use crate::connection::tracker::{CloseStage, Side};
use crate::proxy::context::ProxyContext;

/// The interval at which progress is checked.
const TICK: Duration = Duration::from_millis(50);

pub struct Drain {
    pub times: ShutdownTimes,
    pub has_outbound: bool,
    pub context: Arc<ProxyContext>,
    pub status: AgentStatus,
    pub stop_inbound: Stopper,
    pub stop_outbound: Stopper,
}

impl Drain {
    pub async fn run(self) {
        let end = Instant::now() + self.times.grace;
        self.status.update(|report| report.draining = true);
        self.accept_during_delay().await;
        self.stop_inbound.stop();
        self.close_inbound(CloseStage::Finish);
        let open = self.inbound_connections();
        info!(open, "inbound closed to new connections");
        self.wait_until_quiet(end).await;
        self.stop_outbound.stop();
        let cut = self.inbound_connections() + self.context.outbound_connections.count();
        match cut {
            0 => info!("drained"),
            _ => warn!(
                connections = cut,
                grace = %format_duration(self.times.grace),
                "the grace period is over: cutting the remaining connections"
            ),
        }
    }

    /// The pod stays in its endpoints for a while after it became unready.
    async fn accept_during_delay(&self) {
        let delay = self.times.delay.min(self.times.grace);
        info!(delay = %format_duration(delay), "draining: unready, still accepting new connections");
        let until = Instant::now() + delay;
        while Instant::now() < until {
            self.close_inbound(CloseStage::LastRequest);
            tokio::time::sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Until no connection is open, and the app has opened none for `outbound_linger`.
    async fn wait_until_quiet(&self, end: Instant) {
        let mut quiet_since = None;
        while Instant::now() < end {
            let inbound = self.inbound_connections() + self.context.handshake_limiter.active();
            if inbound == 0 && self.context.outbound_connections.count() == 0 {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.times.outbound_linger || !self.has_outbound {
                    return;
                }
            } else {
                quiet_since = None;
                // Connections that were in their handshake when the listener closed.
                self.close_inbound(CloseStage::Finish);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn close_inbound(&self, stage: CloseStage) {
        self.context.tracker.close_all(Side::Inbound, stage);
    }

    fn inbound_connections(&self) -> usize {
        self.context.tracker.count(Side::Inbound, 0).total()
    }
}

#[cfg(test)]
mod tests;
