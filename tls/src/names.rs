//! The names that a certificate carries: its subject alternative names only, as current peers read them; the
//! common name is ignored.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

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

    /// The SPIFFE ID, if there is exactly one: with several, the certificate has no identity that
    /// the SPIFFE rules would recognise.
    pub fn spiffe_id(&self) -> Option<&str> {
        let mut ids = self.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        let first = ids.next()?;
        ids.next().is_none().then_some(first.as_str())
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
        f.write_str(&self.labels().join(", "))
    }
}
