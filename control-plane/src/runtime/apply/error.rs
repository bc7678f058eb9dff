//! Why an action could not be applied.

use crate::api::object_name::ObjectName;
use crate::pki::authority::AuthorityError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("an agent would refuse version {version} of {certificate}, so it is not published: {cause}")]
    Refused { certificate: ObjectName, version: u64, cause: String },
    #[error("signing did not come to its end: {0}")]
    Panicked(String),
}

impl ApplyError {
    /// Another writer was first. The next round plans on what it wrote.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict(_)))
    }

    /// The label of the error in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Authority(_) => "authority",
            Self::Refused { .. } => "refused",
            Self::Panicked(_) => "broken",
        }
    }
}
