//! For how long a verdict holds: it depends on the content and on the time, and changes only when a certificate of the
//! content turns valid or expires, or a revocation list in force goes out of date.

use std::time::SystemTime;

use super::certificate::parse_certificate;
use super::sections::Sections;
use super::trust::Trust;
use crate::credential::{Credential, LeafParts};

/// The time in which the verdict about a content stays what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VerdictWindow {
    from: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl VerdictWindow {
    /// Of a credential that is judged at `now`, with the lists of this trust in force.
    pub fn of(credential: &Credential, trust: Option<&Trust>, now: SystemTime) -> Self {
        let leaf = match &credential.leaf {
            LeafParts::Pair { certificate, .. } => certificate,
            LeafParts::Bundle(bundle) => bundle,
        };
        let files = [leaf, &credential.trust].into_iter().filter_map(|part| part.as_ref().ok());
        let certificates = files
            .filter_map(|bytes| Sections::read(bytes, "a file").ok())
            .flat_map(|sections| sections.certificates)
            .filter_map(|der| parse_certificate(&der, "a certificate").ok());
        let of_certificates =
            certificates.flat_map(|certificate| [certificate.not_before, certificate.not_after]);
        let lists = trust.and_then(|trust| trust.revocation.as_ref());
        let of_lists = lists.into_iter().flat_map(|lists| &lists.lists).map(|list| list.usable_until());
        let mut window = Self::default();
        for moment in of_certificates.chain(of_lists) {
            match moment <= now {
                true => window.from = window.from.max(Some(moment)),
                false => window.until = [window.until, Some(moment)].into_iter().flatten().min(),
            }
        }
        window
    }

    pub fn contains(&self, now: SystemTime) -> bool {
        self.from.is_none_or(|from| now >= from) && self.until.is_none_or(|until| now < until)
    }

    /// When the content has to be judged again.
    pub fn until(&self) -> Option<SystemTime> {
        self.until
    }
}
