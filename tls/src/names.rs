//! The names that a certificate carries: its subject alternative names only, as current peers read them; the
//! common name is ignored.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::spiffe_id::{self, NoSpiffeId, SpiffeId};

/// The subject alternative names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names, lower case.
    pub dns: Vec<String>,
    /// URIs as they stand, SPIFFE IDs among them.
    pub uris: Vec<String>,
    /// IP addresses.
    pub ips: Vec<std::net::IpAddr>,
}

impl Names {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return names;
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => names.ips.extend(match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(Into::into),
                    16 => <[u8; 16]>::try_from(*bytes).ok().map(std::net::IpAddr::from),
                    _ => None,
                }),
                _ => {}
            }
        }
        names
    }

    /// There is no name of these kinds.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.uris.is_empty() && self.ips.is_empty()
    }

    /// The SPIFFE ID: of a certificate that has exactly one URI, and that is one.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        match self.uris.as_slice() {
            [uri] => uri.parse().ok(),
            _ => None,
        }
    }

    /// Why there is no SPIFFE ID, although a URI was meant as one: peers that go by it refuse the certificate.
    pub fn no_spiffe_id(&self) -> Option<NoSpiffeId> {
        if !self.uris.iter().any(|uri| spiffe_id::has_scheme(uri)) {
            return None;
        }
        match self.uris.as_slice() {
            [uri] => uri.parse::<SpiffeId>().err().map(NoSpiffeId::Invalid),
            uris => Some(NoSpiffeId::SeveralUris(uris.len())),
        }
    }

    /// `spiffe://…`, `dns:…`, `ip:…`, the most specific kind first.
    pub fn labels(&self) -> Vec<String> {
        let uris = self.uris.iter().cloned();
        let dns = self.dns.iter().map(|name| format!("dns:{name}"));
        let ips = self.ips.iter().map(|ip| format!("ip:{ip}"));
        uris.chain(dns).chain(ips).collect()
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no DNS name, URI or IP address");
        }
        f.write_str(&self.labels().join(", "))?;
        self.no_spiffe_id().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uri_is_a_spiffe_id_and_several_are_none() {
        let names = |uris: &[&str]| Names {
            dns: vec!["a".into()],
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            ..Names::default()
        };
        for (uris, shown) in [
            (&["spiffe://d/a"][..], "spiffe://d/a, dns:a"),
            (&["https://d/a"], "https://d/a, dns:a"),
            (&["https://d/a", "https://d/b"], "https://d/a, https://d/b, dns:a"),
            (
                &["spiffe://d/a", "https://d/b"],
                "spiffe://d/a, https://d/b, dns:a (no SPIFFE ID: it has 2 URIs, and an X.509-SVID has exactly one)",
            ),
            (
                &["spiffe://d"],
                "spiffe://d, dns:a (no SPIFFE ID: its URI has no path: a workload's ID is spiffe://trust-domain/path)",
            ),
        ] {
            let names = names(uris);
            assert_eq!(names.to_string(), shown);
            assert_eq!(names.spiffe_id().is_some(), uris == ["spiffe://d/a"], "{uris:?}");
        }
    }
}
