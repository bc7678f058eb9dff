//! Why the Secret cannot be followed, with what to do about it.

use std::path::Path;
use std::time::Duration;

use kube::config::{InClusterError, KubeconfigError};
use kube::core::Status;

use crate::tls::error_chain::with_causes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    /// One of a few words: a metric label.
    pub reason: &'static str,
    pub detail: String,
}

impl WatchError {
    pub fn ended() -> Self {
        Self { reason: "ended", detail: "the API server ended the watch as soon as it had begun".into() }
    }

    pub fn silent(within: Duration) -> Self {
        Self { reason: "silent", detail: format!("nothing came from the API server for {within:?}") }
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

    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            // What was received is not repeated: it may be a key.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self { reason: "answer", detail: "the API server's answer cannot be read".into() }
            }
            error => Self { reason: "unreachable", detail: with_causes(error) },
        }
    }

    pub fn of_status(Status { code, message, .. }: &Status) -> Self {
        let (reason, detail) = match code {
            401 => ("unauthorized", format!("the API server does not take the pod's token (401): {message}")),
            403 => (
                "forbidden",
                format!(
                    "not allowed to get, list and watch it (403); `hotcert inject --rbac` prints the Role: {message}"
                ),
            ),
            410 => (
                "expired",
                format!("the API server has forgotten what the watch would go on from (410): {message}"),
            ),
            _ => ("answer", format!("the API server answered {code}: {message}")),
        };
        Self { reason, detail }
    }

    /// It will be the same until somebody changes something.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.reason, "forbidden" | "no_service_account" | "kubeconfig")
    }
}
