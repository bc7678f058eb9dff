//! What is logged when a limit is reached, with the flag that changes it: when it begins for a peer and now and then while
//! it lasts, not for each connection.

use hotcert_log::Allowed;
use tracing::{info, warn};

use super::entry::{CloseReason, Entry, Side};
use super::peer_id::PeerId;
use super::peer_name::PeerName;
use super::state::Shared;

impl Shared {
    /// A connection is asked to give way to one of `newcomer`.
    pub fn log_gave_way(&self, victim: &Entry, reason: CloseReason, newcomer: PeerId, name: PeerName<'_>) {
        let (reason, pair) = (reason.as_str(), (victim.holder.identity, newcomer.identity));
        if let Some(Allowed { suppressed }) = self.log_limiter.allow(&(reason, pair)) {
            warn!(
                suppressed, reason, places = self.limits.places(), of = %victim.name(), to = %name,
                "all places are taken (--max-connections): a connection gives way to that of another client"
            );
        }
    }

    /// A connection has no place, and none gives way to it.
    pub fn log_turned_away(&self, side: Side, holder: PeerId, name: Option<PeerName<'_>>) {
        let reason = CloseReason::Limit.as_str();
        if let Some(Allowed { suppressed }) = self.log_limiter.allow(&(reason, holder.identity)) {
            let (side, of) = (side.as_str(), name.map(|name| name.to_string()));
            warn!(
                suppressed,
                reason,
                side,
                places = self.limits.places(),
                of,
                "connection closed: all places are taken (--max-connections), and none gives way to it"
            );
        }
    }

    /// A connection is closed because no request came.
    pub fn log_no_request(&self, entry: &Entry) {
        let reason = CloseReason::NoRequest.as_str();
        if let Some(Allowed { suppressed }) = self.log_limiter.allow(&(reason, entry.holder.identity)) {
            let within = humantime::format_duration(self.limits.first_request);
            info!(
                suppressed, reason, of = %entry.name(),
                "connection closed: no request within {within}, twice --request-timeout"
            );
        }
    }

    /// A connection is closed for what it costs without a request.
    pub fn log_frames(&self, entry: &Entry) {
        let reason = CloseReason::Frames.as_str();
        if let Some(Allowed { suppressed }) = self.log_limiter.allow(&(reason, entry.holder.identity)) {
            warn!(
                suppressed, reason, side = entry.side.as_str(), of = %entry.name(),
                "connection closed: too many HTTP/2 frames that carry nothing"
            );
        }
    }
}
