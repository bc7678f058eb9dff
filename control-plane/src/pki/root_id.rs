//! How a root is told apart from others.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pki::authority::Authority;

/// Hex SHA-256 of a root certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootId(pub String);

impl RootId {
    /// Of text that came from elsewhere; `None` if it is not 64 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    pub fn of(root: &Authority) -> Self {
        Self(root.sha256())
    }
}

impl fmt::Display for RootId {
    /// Its beginning: enough to tell the roots of one authority apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
