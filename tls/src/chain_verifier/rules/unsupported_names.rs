//! Kinds of names that webpki cannot hold against constraints: it refuses them all, and the reason should say so.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Names that webpki accepts none of under constraints on their kind: URIs, e-mail addresses and others, and directory
/// names, of which each certificate has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnsupportedNames {
    uris: bool,
    directory: bool,
    others: bool,
}

impl UnsupportedNames {
    fn of<'a>(names: impl IntoIterator<Item = &'a GeneralName<'a>>) -> Self {
        let mut found = Self::default();
        for name in names {
            match name {
                GeneralName::DNSName(_) | GeneralName::IPAddress(_) => {}
                GeneralName::URI(_) => found.uris = true,
                GeneralName::DirectoryName(_) => found.directory = true,
                _ => found.others = true,
            }
        }
        found
    }

    /// Those that a certificate constrains.
    pub fn constrained_by(certificate: &X509Certificate<'_>) -> Self {
        let Ok(Some(constraints)) = certificate.name_constraints() else { return Self::default() };
        let subtrees = [&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees];
        Self::of(subtrees.into_iter().flatten().flatten().map(|subtree| &subtree.base))
    }

    /// Those that a certificate bears.
    pub fn borne_by(certificate: &X509Certificate<'_>) -> Self {
        let names = certificate.subject_alternative_name().ok().flatten();
        let borne = Self::of(names.iter().flat_map(|names| &names.value.general_names));
        Self { directory: true, ..borne }
    }

    /// Whether there are any of a kind in both.
    pub fn meet(self, other: Self) -> bool {
        self.uris && other.uris || self.directory && other.directory || self.others && other.others
    }
}
