//! Turns errors of the API server into a [`StoreError`]: a conflict, a missing object, or what a person has to do.
//! Nothing of what was sent or received is repeated.

use std::future::Future;
use std::time::Duration;

use crate::api::duration;
use crate::store::StoreError;

/// For one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Waits for an answer. `what` is the thing that is read or written, as an error names it.
pub async fn answer<T>(what: &str, asked: impl Future<Output = kube::Result<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer.map_err(|error| of(what, &error)),
        Err(_) => Err(StoreError::Failed {
            what: what.into(),
            cause: format!("the API server did not answer within {}", duration::format(ANSWER_WITHIN)),
        }),
    }
}

pub fn of(what: &str, error: &kube::Error) -> StoreError {
    let what = what.to_owned();
    match error {
        kube::Error::Api(status) if status.code == 409 => StoreError::Conflict(what),
        kube::Error::Api(status) if status.code == 404 => StoreError::Missing(what),
        error => StoreError::Failed { what, cause: describe(error) },
    }
}

pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "not allowed (403): {}; apply the roles in manifests/base/rbac.yaml, and in a namespace with certificates \
                 the RoleBinding to hotcert-namespace",
                status.message
            )
        }
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        // What was received may be a key.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            "the API server's answer cannot be read".into()
        }
        error => with_causes(error),
    }
}

pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
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
