//! One Secret as a source of credentials, read and watched through the Kubernetes API.

mod backoff;
mod object;
mod secret_ref;
mod watch_error;
mod watch_state;
mod watcher;

pub use secret_ref::{SecretRef, SecretRefError};
pub use watch_error::{WatchError, WatchErrorReason};
pub use watch_state::{ApiState, SecretVersion, WatchState};
pub use watcher::SecretWatcher;
