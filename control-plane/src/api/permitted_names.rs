//! The DNS names that a root permits its leaves to have, by its name constraints (RFC 5280, 4.2.1.10). Peers refuse a chain
//! that breaks them, so that no such leaf is signed.

use std::fmt;

/// Of a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermittedNames {
    /// Domains. `None`: all.
    pub permitted: Option<Vec<String>>,
    pub excluded: Vec<String>,
}

impl PermittedNames {
    /// Without domains all names are permitted.
    pub fn within(domains: &[String]) -> Self {
        Self { permitted: (!domains.is_empty()).then(|| domains.to_vec()), excluded: Vec::new() }
    }

    pub fn permits(&self, name: &str) -> bool {
        let is_within = |domains: &[String]| domains.iter().any(|domain| is_within(name, domain));
        self.permitted.as_deref().is_none_or(is_within)
            && !self.excluded.iter().any(|domain| overlaps(name, domain))
    }
}

/// The domain itself and all below; with a dot before it, only those below.
fn is_within(name: &str, domain: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = domain.strip_prefix('.').unwrap_or(domain);
    bare.is_empty() || (name == domain) || name.strip_suffix(bare).is_some_and(|labels| labels.ends_with('.'))
}

/// A wildcard may stand for a name within.
fn overlaps(name: &str, domain: &str) -> bool {
    let below_wildcard = name.strip_prefix('*').is_some_and(|rest| domain.ends_with(rest));
    is_within(name, domain) || below_wildcard
}

impl fmt::Display for PermittedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.permitted {
            Some(permitted) => write!(f, "permit only {}", permitted.join(", "))?,
            None => f.write_str("permit all")?,
        }
        if self.excluded.is_empty() { Ok(()) } else { write!(f, ", and not {}", self.excluded.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_permits_itself_and_what_is_below() {
        let constraints = PermittedNames::within(&["shop.svc".into(), ".Example.org".to_ascii_lowercase()]);
        for (name, expected) in [
            ("shop.svc", true),
            ("payments.shop.svc", true),
            ("*.shop.svc", true),
            ("PAYMENTS.Shop.svc", true),
            ("workshop.svc", false),
            ("*.svc", false),
            ("shop.svc.cluster.local", false),
            ("a.example.org", true),
            ("example.org", false),
        ] {
            assert_eq!(constraints.permits(name), expected, "{name}");
        }
        assert!(PermittedNames::default().permits("any.name"));
        assert_eq!(constraints.to_string(), "permit only shop.svc, .example.org");
    }

    #[test]
    fn an_excluded_domain_is_not_permitted_by_a_wildcard_either() {
        let constraints = PermittedNames { permitted: None, excluded: vec!["bank.svc".into()] };
        for (name, expected) in [
            ("bank.svc", false),
            ("a.bank.svc", false),
            ("*.svc", false),
            ("a.shop.svc", true),
            ("*.shop.svc", true),
        ] {
            assert_eq!(constraints.permits(name), expected, "{name}");
        }
        assert_eq!(constraints.to_string(), "permit all, and not bank.svc");
    }
}
