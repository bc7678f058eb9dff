//! Why a root or a leaf is not issued.

use time::OffsetDateTime;

use crate::api::algorithm::Algorithm;
use crate::api::leaf_request::NameError;
use crate::api::permitted_names::PermittedNames;

/// Why no certificate was issued, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "the name constraints of the root {} {permitted}, so that peers would refuse a certificate for {name}: take the \
         name out, or replace the root, which gives it the nameConstraints of the spec (hotcert rollover)",
        .root.get(..12).unwrap_or(.root)
    )]
    NotPermitted { name: String, root: String, permitted: PermittedNames },
    #[error("the lifetime is shorter than a second: certificates count in whole seconds, give at least one")]
    LifetimeTooShort,
    #[error("the validity lies outside the years 1970 to 9999: check the clock and the lifetime")]
    DateOutOfRange,
    #[error("the authority is not valid before {not_before}: check the clock of this machine")]
    AuthorityNotYetValid { not_before: OffsetDateTime },
    #[error("the authority expired at {not_after}, and no peer would accept what it signs: replace it")]
    AuthorityExpired { not_after: OffsetDateTime },
    #[error("the system's random number generator failed: no certificate can be issued on this machine")]
    NoRandomness,
    #[error("this root cannot be imported: {0}")]
    NotImported(String),
    #[error("the {algorithm} key could not be generated or used: {source}")]
    Key { algorithm: Algorithm, source: rcgen::Error },
}
