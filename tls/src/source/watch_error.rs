//! Why the Secret cannot be watched, with what to do about it.

/// Why the Secret cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchError {
    /// The kind of the error.
    pub reason: WatchErrorReason,
    /// What happened, and what to do.
    pub detail: String,
}

/// The kind of a watch error, as metric labels, health and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WatchErrorReason {
    /// The API server ended the watch as soon as it had begun.
    Ended,
    /// Nothing came from the API server in time.
    Silent,
    /// The pod has no service account token.
    NoServiceAccount,
    /// The kubeconfig cannot be used.
    Kubeconfig,
    /// The API server answered with something unexpected.
    Answer,
    /// No connection to the API server.
    Unreachable,
    /// The API server does not accept the token.
    Unauthorized,
    /// The token lacks the right to get, list or watch the Secret.
    Forbidden,
    /// The resource version that the watch would continue from is gone.
    Expired,
}

impl WatchErrorReason {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::NoServiceAccount => "no_service_account",
            Self::Kubeconfig => "kubeconfig",
            Self::Answer => "answer",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Expired => "expired",
        }
    }
}
