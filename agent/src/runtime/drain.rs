//! The end of an agent, in order: unready, then closed to new connections, then drained.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::admin::status::AgentStatus;
use crate::config::settings::Settings;
use crate::connection::tracker::{CloseStage, Side};
use crate::proxy::context::ProxyContext;
use crate::runtime::shutdown::Stopper;

/// How often a draining agent looks whether it is done.
const TICK: Duration = Duration::from_millis(50);

/// Unready at once; inbound taken for a while yet; then inbound drained with outbound still there
/// for the app; at last outbound.
pub async fn drain(
    settings: &Settings,
    context: &ProxyContext,
    status: &AgentStatus,
    close_inbound: &Stopper,
    close_outbound: &Stopper,
) {
    let times = settings.shutdown;
    let end = Instant::now() + times.grace;
    status.update(|report| report.draining = true);
    info!(delay = ?times.delay, "draining: unready, new connections still taken");
    let closing = Instant::now() + times.delay.min(times.grace);
    while Instant::now() < closing {
        context.tracker.close_all(Side::Inbound, CloseStage::LastRequest);
        tokio::time::sleep(TICK.min(closing.saturating_duration_since(Instant::now()))).await;
    }

    close_inbound.stop();
    context.tracker.close_all(Side::Inbound, CloseStage::Finish);
    let open = context.tracker.count(Side::Inbound, 0).total();
    info!(open, "inbound closed to new connections");
    let mut quiet_since = None;
    while Instant::now() < end {
        let inbound = context.tracker.count(Side::Inbound, 0).total() + context.shaking_hands.taken();
        let outbound = context.outbound_apps.count();
        if inbound == 0 && outbound == 0 {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= times.outbound_linger || settings.has_no_outbound() {
                break;
            }
        } else {
            quiet_since = None;
            // Those that came in while it was closing.
            context.tracker.close_all(Side::Inbound, CloseStage::Finish);
        }
        tokio::time::sleep(TICK).await;
    }
    close_outbound.stop();
    let cut = context.tracker.count(Side::Inbound, 0).total() + context.outbound_apps.count();
    match cut {
        0 => info!("drained"),
        _ => {
            warn!(connections = cut, grace = ?times.grace, "the grace period is over: cutting what is still open")
        }
    }
}
