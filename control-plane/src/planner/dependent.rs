//! A certificate as its authority sees it.

use super::observed::{Certificate, KeyringView, Publication, Published};
use crate::api::object_name::ObjectName;
use crate::pki::ledger::LedgerEntry;

/// A certificate that names an authority, and the Secret that it is published as.
#[derive(Clone, Copy)]
pub struct DependentCertificate<'a> {
    pub name: &'a ObjectName,
    pub certificate: &'a Certificate,
    pub secret: &'a str,
    /// Its spec is valid.
    pub valid: bool,
}

impl<'a> DependentCertificate<'a> {
    /// Pods may mount its Secret: it exists, or did before it was lost or became inaccessible.
    pub fn may_be_mounted(&self) -> bool {
        match self.certificate.published {
            Published::Ours(_) => true,
            Published::Absent | Published::Inaccessible(_) | Published::OwnedByOther(_) => {
                self.certificate.status.revision.is_some()
            }
        }
    }

    /// What the ledger of an authority says of its Secret.
    pub fn ledger_entry<'k>(&self, keyring: &'k KeyringView) -> Option<&'k LedgerEntry> {
        keyring.ledger_entry(&self.name.namespace, self.secret)
    }

    /// What is published, if it can be read.
    pub fn publication(&self) -> Option<&'a Publication> {
        match &self.certificate.published {
            Published::Ours(publication) => Some(publication),
            _ => None,
        }
    }

    pub fn is_published_soon(&self) -> bool {
        self.valid && !self.certificate.deleting && !self.certificate.versions.is_empty()
    }
}
