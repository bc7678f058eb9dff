//! Why an identity is no longer kept current.

/// Why the identity is no longer reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A bug.
    #[error("reading the identity directory panicked")]
    ReadPanicked,
    /// A bug.
    #[error("the watch on the Secret ended")]
    WatchEnded,
    /// The last handle or the [`ManualSource`](crate::ManualSource) was dropped, or the runtime on which it was started has shut down.
    #[error("the reload was stopped: its last handle or its source was dropped, or its runtime shut down")]
    Stopped,
}
