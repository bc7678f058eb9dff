//! Where credentials come from: a directory, a Secret watched through the Kubernetes API, and the selection
//! between the two. Sources deliver bytes; they validate nothing.

pub(crate) mod directory;
mod kind;
#[cfg(feature = "kubernetes")]
pub(crate) mod kubernetes;
mod secret_ref;
mod selector;
mod watch_error;
mod watch_state;

pub use kind::SourceKind;
pub use secret_ref::{SecretRef, SecretRefError};
pub use watch_error::{WatchError, WatchErrorReason};
pub use watch_state::ApiState;

pub(crate) use selector::{Candidate, Decision, SourceSelector, VolumeState};
#[cfg(any(test, feature = "kubernetes"))]
pub(crate) use watch_state::SecretVersion;
pub(crate) use watch_state::WatchState;
