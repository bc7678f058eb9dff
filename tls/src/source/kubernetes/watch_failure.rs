//! Why the Secret cannot be watched, from what `kube` reports.

use std::io;
use std::path::Path;
use std::time::Duration;

use kube::config::KubeconfigError;
use kube::core::Status;

use crate::source::watch_error::{WatchError, WatchErrorReason};

impl WatchError {
    fn new(reason: WatchErrorReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    pub(super) fn ended() -> Self {
        Self::new(WatchErrorReason::Ended, "the API server ended the watch as soon as it had begun")
    }

    pub(super) fn silent(within: Duration) -> Self {
        let within = humantime::format_duration(within);
        Self::new(WatchErrorReason::Silent, format!("nothing came from the API server for {within}"))
    }

    pub(super) fn no_service_account() -> Self {
        let detail = "there is no service account in this pod: project a token into the agent's container, or leave out --secret";
        Self::new(WatchErrorReason::NoServiceAccount, detail)
    }

    pub(super) fn kubeconfig(path: &Path, error: &KubeconfigError) -> Self {
        let detail = match error {
            KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => {
                format!("the kubeconfig {} does not exist", path.display())
            }
            error => format!("kubeconfig {}: {}", path.display(), with_causes(error)),
        };
        Self::new(WatchErrorReason::Kubeconfig, detail)
    }

    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            // The response is not quoted: it may hold a key.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self::new(WatchErrorReason::Answer, "the API server's answer cannot be read")
            }
            error => Self::new(WatchErrorReason::Unreachable, with_causes(error)),
        }
    }

    pub(super) fn of_status(Status { code, message, .. }: &Status) -> Self {
        let (reason, detail) = match code {
            401 => (
                WatchErrorReason::Unauthorized,
                format!("the API server does not accept the pod's token (401): {message}"),
            ),
            403 => (
                WatchErrorReason::Forbidden,
                format!(
                    "not allowed to get, list and watch it (403); `hotcert inject --rbac` prints the Role: {message}"
                ),
            ),
            410 => (
                WatchErrorReason::Expired,
                format!(
                    "the API server no longer has the version that the watch would continue from (410): {message}"
                ),
            ),
            _ => (WatchErrorReason::Answer, format!("the API server answered {code}: {message}")),
        };
        Self { reason, detail }
    }

    /// The error stays until an operator changes something.
    pub(super) fn needs_intervention(&self) -> bool {
        matches!(
            self.reason,
            WatchErrorReason::Forbidden | WatchErrorReason::NoServiceAccount | WatchErrorReason::Kubeconfig
        )
    }
}

/// An error and its sources as one line of text.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
