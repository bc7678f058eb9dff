//! What both stores write, as named parts: keys of a Secret's data in a cluster, files of a directory on one
//! machine. Limits, checks and their messages are here, so that the stores cannot differ in them.
//!
//! | module | between |
//! |---|---|
//! | [`keyring`] | a keyring and its parts |
//! | [`version`] | a version of a certificate, its parts and its record |
//! | [`target`] | the contents of a target Secret and what is read back from it |
//! | [`name`] | names of objects |

pub mod keyring;
pub mod name;
pub mod target_secret;
pub mod version;

use zeroize::Zeroizing;

/// A name and its value.
pub type Part = (String, Zeroizing<Vec<u8>>);

pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
pub const BUNDLE: &str = "ca.crt";
pub const REVISION: &str = "revision";
/// Revocation lists, which somebody else publishes beside the others.
pub const LISTS: &str = "ca.crl";

/// Which part cannot be used, and why. Nothing of its value is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {cause}")]
pub struct Malformed {
    pub part: String,
    pub cause: String,
}

fn malformed(part: impl Into<String>, cause: impl Into<String>) -> Malformed {
    Malformed { part: part.into(), cause: cause.into() }
}

fn part(name: &str, value: &[u8]) -> Part {
    (name.to_owned(), Zeroizing::new(value.to_vec()))
}
