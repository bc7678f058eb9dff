//! The two objects that a person writes: [`CertificateAuthority`], a root, and [`ServiceCertificate`], a leaf
//! for one service. They are custom resources of `hotcert.dev/v1alpha1` in a cluster, and files with the same
//! text in the directory store.
//!
//! A spec here is what was written; [`crate::api::settings`] validates it and fills in the defaults.

mod authority;
mod certificate;
mod crd;
mod naming;
mod shared;

pub use authority::{
    AllowedNames, AuthorityStatus, CertificateAuthority, CertificateAuthoritySpec, HandledRequestStatus,
    ImportSource, NameConstraints, RolloverRecordStatus, RolloverStatus, RootStatus,
};
pub use certificate::{
    CertificateStatus, ExternalSyncStatus, HandledRequests, ManagerRef, PodServed, ServedStatus,
    ServiceCertificate, ServiceCertificateSpec,
};
pub use crd::{DefinitionError, definitions};
pub use naming::{Kind, Naming, NamingError};
pub use shared::{NotifiedMarks, UNDELIVERED};
