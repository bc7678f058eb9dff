//! Why a manager could not be used. Of what was sent or received nothing is repeated but what the manager
//! [reported] as its errors: the rest may hold a key.

use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

use super::Access;
use super::reported::reported;
use crate::external::http_client::{Endpoint, HttpError, HttpResponse};

#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{endpoint} answered {status}{}: {hint}", reported.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Status {
        endpoint: String,
        status: StatusCode,
        reported: Option<String>,
        hint: &'static str,
        retry_after: Option<Duration>,
    },
    #[error("cannot parse the response of {endpoint}: {cause}")]
    Malformed { endpoint: String, cause: String },
    #[error(
        "the settings of this manager do not allow the namespace {namespace} to {} {id}: \
        add it to the manager's {}, or to allow, which is for both directions",
        access.verb(),
        access.key()
    )]
    NotAllowed { access: Access, namespace: String, id: String },
    #[error("cannot push to this manager: its settings have no address to push to (put)")]
    NoPutAddress,
    #[error("the secret {id} cannot be written to: {reason}")]
    ReadOnly { id: String, reason: &'static str },
    #[error("the manager has no secret group named {group}: correct secretGroup in its settings")]
    NoGroup { group: String },
    #[error("could not get a token from IAM: {0}")]
    NoToken(Box<ManagerError>),
    #[error(
        "cannot read the service account's token from {}: {cause}; mount it as a projected volume, and correct \
        trustedProfile.tokenFile in the settings", path.display()
    )]
    AccountToken { path: PathBuf, cause: String },
    #[error("the manager sends no root to trust: name a file with the roots (trust) in its settings")]
    NoRoots,
}

impl ManagerError {
    /// Whether the same would happen with every other certificate of this manager.
    pub fn is_manager_failing(&self) -> bool {
        match self {
            Self::Http(_) | Self::NoToken(_) => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || status.is_redirection()
                    || matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::NOT_FOUND, .. })
    }

    /// How long the manager asks not to be called again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NoToken(cause) => cause.retry_after(),
            _ => None,
        }
    }
}

/// An error for every status but success, with what the manager reports and what to do about it.
pub(super) fn check_status(
    endpoint: &Endpoint,
    response: HttpResponse,
) -> Result<HttpResponse, ManagerError> {
    check(endpoint, response, hint)
}

/// [`check_status`] of a request for a token, which consists of a credential and nothing else.
pub(super) fn check_token_status(
    endpoint: &Endpoint,
    response: HttpResponse,
    credential_hint: &'static str,
) -> Result<HttpResponse, ManagerError> {
    check(endpoint, response, |status| match status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => credential_hint,
        status => hint(status),
    })
}

fn check(
    endpoint: &Endpoint,
    response: HttpResponse,
    hint: impl Fn(StatusCode) -> &'static str,
) -> Result<HttpResponse, ManagerError> {
    let HttpResponse { status, retry_after, body } = &response;
    if status.is_success() {
        return Ok(response);
    }
    Err(ManagerError::Status {
        endpoint: endpoint.origin(),
        status: *status,
        reported: reported(body),
        hint: hint(*status),
        retry_after: *retry_after,
    })
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            "the manager rejects what was sent"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "check the key or token of this manager and its permissions"
        }
        StatusCode::NOT_FOUND => "check the id and the instance",
        StatusCode::TOO_MANY_REQUESTS => "the manager limits the rate of requests",
        status if status.is_redirection() => {
            "redirects are not followed: write the address it redirects to into the settings"
        }
        _ => "the request will be retried",
    }
}
