//! How a handshake ended: the metric label, and its counter.

use hotcert_tls::HandshakeFailure;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    Ok,
    /// The agent's own check of its listener.
    SelfCheck,
    /// Verified, but not on the allow list.
    NotAllowed,
    Failed(HandshakeFailure),
}

impl HandshakeResult {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::SelfCheck => "self_check",
            Self::NotAllowed => "not_allowed",
            Self::Failed(failure) => failure.as_str(),
        }
    }
}

/// Which of the agent's listeners, or outbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeSide {
    Inbound,
    Outbound,
    Proof,
}

impl HandshakeSide {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Proof => "proof",
        }
    }
}

/// Handshakes by side and result.
#[derive(Clone, Default)]
pub struct HandshakeCounters(pub Family<HandshakeLabels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandshakeLabels {
    pub side: &'static str,
    pub result: &'static str,
}

impl HandshakeCounters {
    pub fn count(&self, side: HandshakeSide, result: HandshakeResult) {
        self.0.get_or_create(&HandshakeLabels { side: side.as_str(), result: result.as_str() }).inc();
    }
}
