//! Why a message did not come whole, or could not be sent.

use std::io;

use super::Malformed;
use super::encode::WrongLength;
use crate::proxy::http::content::BodyError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the connection was closed before the response")]
    Closed,
    #[error("the connection was closed before the end of the message")]
    Ended,
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error(transparent)]
    WrongLength(#[from] WrongLength),
    #[error("more than {0} interim responses")]
    Interims(usize),
    #[error("the request ended early: {0}")]
    Request(Box<BodyError>),
}

impl Error {
    /// Whether the connection was closed under the request, before there was any response.
    pub fn was_closed(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_))
    }
}
