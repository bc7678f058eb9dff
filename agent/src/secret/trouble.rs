//! Why the Secret cannot be followed, with what to do about it.

use std::path::Path;

use kube::config::{InClusterError, KubeconfigError};
use kube::runtime::watcher;

use crate::http::with_causes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of a few words: a metric label.
    pub reason: &'static str,
    pub detail: String,
}

impl Trouble {
    pub fn ended() -> Self {
        Self { reason: "ended", detail: "the API server ended the watch".into() }
    }

    pub fn expired() -> Self {
        let detail =
            "the API server no longer has the history that the watch went on from (410); listing again";
        Self { reason: "expired", detail: detail.into() }
    }

    pub fn no_service_account(error: &InClusterError) -> Self {
        let detail = format!(
            "there is no service account in this pod ({}): project a token into the agent's container, or leave out --secret",
            with_causes(error)
        );
        Self { reason: "no_service_account", detail }
    }

    pub fn kubeconfig(path: &Path, error: &KubeconfigError) -> Self {
        let detail = format!("kubeconfig {}: {}", path.display(), with_causes(error));
        Self { reason: "kubeconfig", detail }
    }

    pub fn of_watch(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::of_client(error),
            watcher::Error::WatchError(status) => Self::of_status(status.code, &status.message),
            watcher::Error::NoResourceVersion => {
                Self { reason: "answer", detail: "the API server's answer has no resourceVersion".into() }
            }
        }
    }

    pub fn of_client(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.message),
            // What was received is not repeated: it may be a key.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self { reason: "answer", detail: "the API server's answer cannot be read".into() }
            }
            error => Self { reason: "unreachable", detail: with_causes(error) },
        }
    }

    fn of_status(code: u16, message: &str) -> Self {
        let (reason, detail) = match code {
            401 => ("unauthorized", format!("the API server does not take the pod's token (401): {message}")),
            403 => (
                "forbidden",
                format!(
                    "not allowed to get, list and watch it (403); `hotcert inject --rbac` prints the Role: {message}"
                ),
            ),
            _ => ("answer", format!("the API server answered {code}: {message}")),
        };
        Self { reason, detail }
    }

    /// It will be the same until somebody changes something.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.reason, "forbidden" | "unauthorized" | "no_service_account" | "kubeconfig")
    }
}
