//! Whether clients must present a certificate.

use std::fmt;
use std::str::FromStr;

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// mTLS: a client without a certificate that the trust bundle verifies is refused.
    Require,
    /// Plain HTTPS, for a public server certificate.
    None,
}

/// The text is not the name of a [`ClientAuth`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not require or none")]
pub struct ClientAuthError(String);

impl ClientAuth {
    /// As [`ClientAuth::from_str`] reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::None => "none",
        }
    }
}

impl FromStr for ClientAuth {
    type Err = ClientAuthError;

    fn from_str(text: &str) -> Result<Self, ClientAuthError> {
        match text {
            "require" => Ok(Self::Require),
            "none" => Ok(Self::None),
            _ => Err(ClientAuthError(text.to_owned())),
        }
    }
}

impl fmt::Display for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
