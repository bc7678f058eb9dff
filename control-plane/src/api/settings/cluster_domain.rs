//! The DNS domain of the cluster, under which Services have their full names: `cluster.local` in most.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::DnsName;

/// Of a cluster whose settings do not say.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterDomain {
    Known(String),
    /// Only the controller knows it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a DNS domain: write that of the cluster without a dot at either end, such as cluster.local"
)]
pub struct ClusterDomainError(String);

impl ClusterDomain {
    /// `name` without the domain, if it ends in it.
    pub fn strip<'n>(&self, name: &'n str) -> Option<&'n str> {
        match self {
            Self::Known(domain) => name.strip_suffix(domain.as_str())?.strip_suffix('.'),
            Self::Unknown => name.find(".svc.").map(|at| &name[..at + ".svc".len()]),
        }
    }

    /// The names of a Service: within the cluster, and in full where that is known.
    pub fn service_names(&self, service: &str, namespace: &str) -> Vec<String> {
        let short = format!("{service}.{namespace}.svc");
        match self {
            Self::Known(domain) => vec![short.clone(), format!("{short}.{domain}")],
            Self::Unknown => vec![short],
        }
    }
}

impl Default for ClusterDomain {
    fn default() -> Self {
        Self::Known(CLUSTER_DOMAIN.to_owned())
    }
}

impl FromStr for ClusterDomain {
    type Err = ClusterDomainError;

    fn from_str(text: &str) -> Result<Self, ClusterDomainError> {
        let domain = text.to_ascii_lowercase();
        let is_name = DnsName::try_from(domain.as_str()).is_ok() && !domain.ends_with('.');
        if is_name { Ok(Self::Known(domain)) } else { Err(ClusterDomainError(text.to_owned())) }
    }
}

impl fmt::Display for ClusterDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(domain) => f.write_str(domain),
            Self::Unknown => f.write_str("the cluster's domain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_dns_name_without_dots_at_its_ends() {
        assert_eq!("Corp.Example".parse(), Ok(ClusterDomain::Known("corp.example".into())));
        for wrong in ["", ".", "cluster.local.", ".cluster.local", "*.local", "a b", "cluster..local"] {
            assert_eq!(wrong.parse::<ClusterDomain>(), Err(ClusterDomainError(wrong.into())));
        }
    }

    #[test]
    fn names_of_services_end_in_the_domain() {
        let domain: ClusterDomain = "corp.example".parse().unwrap();
        assert_eq!(domain.service_names("a", "shop"), ["a.shop.svc", "a.shop.svc.corp.example"]);
        assert_eq!(domain.strip("a.shop.svc.corp.example"), Some("a.shop.svc"));
        for other in ["a.shop.svc.cluster.local", "a.shop.svccorp.example", "a.shop.svc", "corp.example"] {
            assert_eq!(domain.strip(other), None, "{other}");
        }
        assert_eq!(ClusterDomain::Unknown.service_names("a", "shop"), ["a.shop.svc"]);
        assert_eq!(ClusterDomain::Unknown.strip("a.shop.svc.any.where"), Some("a.shop.svc"));
    }
}
