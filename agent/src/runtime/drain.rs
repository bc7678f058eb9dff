//! Draining: the agent becomes unready, goes on accepting while the pod leaves its endpoints, lets inbound
//! connections finish while outbound ones are still served, and cuts what is left when the grace period is
//! over.

use std::sync::Arc;

use humantime::format_duration;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::admin::agent_status::AgentStatus;
use crate::config::settings::ShutdownTimes;
use crate::connection::tracker::{CloseStage, Side};
use crate::proxy::context::ProxyContext;

pub struct Drain {
    pub times: ShutdownTimes,
    pub has_outbound: bool,
    pub context: Arc<ProxyContext>,
    pub status: AgentStatus,
}

impl Drain {
    pub async fn run(self) {
        let end = Instant::now() + self.times.grace;
        self.status.update(|report| report.draining = true);
        self.accept_during_delay().await;
        self.context.inbound_tasks.stop();
        self.close_inbound(CloseStage::Finish);
        let open = self.inbound_connections();
        info!(open, "inbound closed to new connections");
        let _ = timeout_at(end, self.wait_until_quiet()).await;
        self.context.outbound_tasks.stop();
        let cut = self.inbound_connections() + self.context.outbound_tasks.count();
        match cut {
            0 => info!("drained"),
            _ => warn!(
                connections = cut,
                grace = %format_duration(self.times.grace),
                "the grace period is over: cutting the remaining connections"
            ),
        }
        // So that what is told of them is what became of them.
        for side in [Side::Inbound, Side::Outbound] {
            self.context.tracker.close_all(side, CloseStage::Cut);
        }
    }

    /// The pod stays in its endpoints for a while after it became unready.
    async fn accept_during_delay(&self) {
        let delay = self.times.delay.min(self.times.grace);
        info!(delay = %format_duration(delay), "draining: unready, still accepting new connections");
        self.close_inbound(CloseStage::LastRequest);
        sleep(delay).await;
    }

    /// Until no connection is open, and the app has opened none for `outbound_linger`.
    async fn wait_until_quiet(&self) {
        self.context.inbound_tasks.finished().await;
        if self.has_outbound {
            self.context.outbound_tasks.idle_for(self.times.outbound_linger).await;
        }
    }

    /// Those that are open, and those that open later: their handshake is in progress.
    fn close_inbound(&self, stage: CloseStage) {
        self.context.tracker.close_all(Side::Inbound, stage);
    }

    fn inbound_connections(&self) -> usize {
        self.context.tracker.count(Side::Inbound, 0).total()
    }
}

#[cfg(test)]
mod tests;
