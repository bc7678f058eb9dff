//! Why a message is rejected. A rejected message changes nothing.

use std::time::Duration;

use hyper::StatusCode;

use crate::api::duration;
use crate::notify::signature::SignatureError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error("the settings name no such sender")]
    UnknownSender,
    #[error("the sender exceeds its rate limit")]
    RateLimited,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the token's signature is not valid: {0}")]
    Token(String),
    #[error("the credential of this sender is missing or wrong")]
    Credential,
    #[error("the event comes from the instance {0:?}, which is not the one in the settings")]
    Instance(String),
    #[error("cannot parse the message: {0}")]
    Malformed(String),
    #[error("{0:?} is not a known event of this provider: nothing follows from it")]
    UnknownEvent(String),
    #[error("no certificate or authority is called {}", .0.join(" or "))]
    UnknownCertificate(Vec<String>),
    #[error("cannot fetch the keys of this sender: {0}")]
    NoKeys(String),
    #[error("cannot record the request: {0}")]
    Store(#[from] StoreError),
    #[error("the request was not recorded within {}", duration::format(*.0))]
    Timeout(Duration),
}

impl Rejection {
    /// The value of the label `outcome`, and of `reason` in logs and responses.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownSender => "unknown_sender",
            Self::RateLimited => "rate",
            Self::Signature(error) => error.reason(),
            Self::Token(_) => "signature",
            Self::Credential => "credential",
            Self::Instance(_) => "instance",
            Self::Malformed(_) => "malformed",
            Self::UnknownEvent(_) => "unknown_event",
            Self::UnknownCertificate(_) => "unknown_certificate",
            Self::NoKeys(_) => "no_keys",
            Self::Store(_) => "store",
            Self::Timeout(_) => "slow",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownSender => StatusCode::NOT_FOUND,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Signature(_) | Self::Token(_) | Self::Credential => StatusCode::UNAUTHORIZED,
            Self::Instance(_) => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            // The sender may well have other events, and keep certificates that are not ours; sending the event again
            // changes nothing.
            Self::UnknownEvent(_) | Self::UnknownCertificate(_) => StatusCode::OK,
            // The sender should send it again.
            Self::NoKeys(_) | Self::Store(_) | Self::Timeout(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
