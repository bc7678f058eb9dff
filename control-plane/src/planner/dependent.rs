//! A certificate as its authority sees it.

use std::time::Duration;

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

    /// From being issued to its end, of the newest version.
    pub fn lifetime(&self) -> Option<Duration> {
        lifetime(self.certificate)
    }

    pub fn is_published_soon(&self) -> bool {
        self.valid && !self.certificate.deleting && !self.certificate.versions.is_empty()
    }
}

/// In whole seconds, as the end of a certificate is.
fn lifetime(certificate: &Certificate) -> Option<Duration> {
    let (_, version) = certificate.newest()?;
    let lifetime = version.leaf.not_after.duration_since(version.created_at).ok()?;
    Some(Duration::from_secs(lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0)))
}

/// Whether nothing has changed that the plan of an authority is made from, while no rollover is under way and no
/// certificate comes to it from elsewhere: a new leaf under the same root is none of its business.
pub fn is_same_to_authority(before: &Certificate, after: &Certificate) -> bool {
    let roots = |certificate: &Certificate| {
        let versions = [certificate.published_version(), certificate.newest()];
        versions.map(|version| version.map(|(_, version)| version.root.clone()))
    };
    let is_publication_same = match (&before.published, &after.published) {
        (Published::Ours(before), Published::Ours(after)) => before.roots == after.roots,
        (before, after) => before == after,
    };
    let has_own_bundle =
        |certificate: &Certificate| certificate.versions.values().any(|version| version.own_bundle.is_some());
    is_publication_same
        && before.spec == after.spec
        && before.deleting == after.deleting
        && before.status.revision.is_some() == after.status.revision.is_some()
        && before.status.secret_name == after.status.secret_name
        && lifetime(before) == lifetime(after)
        && roots(before) == roots(after)
        && !has_own_bundle(before)
        && !has_own_bundle(after)
}
