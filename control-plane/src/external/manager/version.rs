//! One version of a certificate as a manager keeps it, and the PEM it is made of.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pki::x509_facts::Leaf;

/// A certificate with its key.
#[derive(Clone)]
pub struct Version {
    /// PEM, leaf first.
    pub certificate: String,
    pub key: Zeroizing<String>,
    /// Roots to trust, PEM, if the manager sends any.
    pub roots: Option<String>,
    /// What the manager says of it without its key, if it does.
    pub metadata: Option<Metadata>,
}

/// By this it is seen whether a manager has another version, without the key being sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    pub(super) id: String,
    pub(super) serial_number: String,
    pub(super) updated_at: String,
}

impl Version {
    /// Whether the first certificate of both is the same.
    pub(super) fn has_leaf_of(&self, pem: &str) -> bool {
        let fingerprint = |pem: &str| Leaf::read(pem.as_bytes()).map(|leaf| leaf.sha256);
        fingerprint(pem).is_some_and(|other| fingerprint(&self.certificate) == Some(other))
    }
}

/// Splits a PEM chain into its leaf and the rest.
pub fn split_leaf(chain: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----";
    let end = chain.find(END).map_or(chain.len(), |at| at + END.len());
    let (leaf, rest) = chain.split_at(end);
    (leaf, rest.trim_start())
}

/// PEM with LF line ends and one at the end, however the manager formats it.
pub(super) fn normalize_pem(pem: &str) -> String {
    format!("{}\n", pem.replace("\r\n", "\n").trim())
}

/// [`normalize_pem`] for a key: leaves no copy behind that is not zeroized.
pub(super) fn normalize_key(pem: &str) -> Zeroizing<String> {
    let mut normalized = Zeroizing::new(String::with_capacity(pem.len() + 1));
    pem.trim().chars().filter(|c| *c != '\r').for_each(|c| normalized.push(c));
    normalized.push('\n');
    normalized
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").finish_non_exhaustive()
    }
}
