//! By what a certificate says which one its issuer is, beside the name: key identifier and serial number. OpenSSL takes
//! no other for its issuer.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::x509::X509Name;

/// Of a certificate that issues others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerIds {
    key: Option<Vec<u8>>,
    serial: Vec<u8>,
    /// The name of the one above, in DER.
    issuer: Vec<u8>,
}

impl IssuerIds {
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let key = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let (serial, issuer) = (certificate.raw_serial().to_vec(), certificate.issuer().as_raw().to_vec());
        Self { key, serial, issuer }
    }

    /// Whether what the certificate says about its issuer fits this one. It need not say anything.
    pub fn issued(&self, certificate: &X509Certificate<'_>) -> bool {
        let Some(wanted) =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => Some(id),
                _ => None,
            })
        else {
            return true;
        };
        let key = wanted.key_identifier.as_ref().zip(self.key.as_ref());
        let mut names = wanted.authority_cert_issuer.iter().flatten();
        let name = names.find_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name.as_raw()),
            _ => None,
        });
        key.is_none_or(|(wanted, own)| wanted.0 == own)
            && wanted.authority_cert_serial.is_none_or(|serial| serial == self.serial)
            && name.is_none_or(|name| name == self.issuer)
    }

    /// Whether OpenSSL takes the certificate, whose own these are, for one that is signed by itself.
    pub fn looks_self_signed(&self, certificate: &X509Certificate<'_>) -> bool {
        comparable(certificate.subject()) == comparable(certificate.issuer()) && self.issued(certificate)
    }
}

/// As OpenSSL compares names: whatever their encoding, case and spaces.
fn comparable(name: &X509Name<'_>) -> String {
    name.to_string().to_lowercase().split_whitespace().collect()
}
