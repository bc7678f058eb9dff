//! One Secret as a source of credentials, read and watched through the Kubernetes API.

mod backoff;
mod object;
mod watch_failure;
mod watcher;

pub use watcher::SecretWatcher;
