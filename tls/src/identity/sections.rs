//! What the PEM sections of a file are: certificates, keys, what may stand beside them, and what is refused because it
//! would be overlooked.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::rejection::Rejection;
use crate::credential::pem::{self, Format, Section};

const TRUSTED: &str = "TRUSTED CERTIFICATE";
/// Of OpenSSL's settings behind a trusted certificate, those that say what it is trusted for, or not.
const TRUST_SETTINGS: [u8; 2] = [0x30, 0xa0];

/// The certificates and private keys of one file, in order.
#[derive(Default)]
pub(super) struct Sections {
    pub certificates: Vec<CertificateDer<'static>>,
    pub keys: Vec<Section>,
    /// It holds a request for a certificate.
    pub has_request: bool,
}

impl Sections {
    /// `what`: the file, in rejections.
    pub fn read(bytes: &[u8], what: &'static str) -> Result<Self, Rejection> {
        let mut found = Self::default();
        for section in pem::sections(bytes).map_err(|error| Rejection::from_pem(what, error))? {
            found.add(section, what)?;
        }
        Ok(found)
    }

    /// Why there is no certificate.
    pub fn no_certificate(&self, what: &'static str) -> Rejection {
        let cause = match self.has_request {
            true => {
                "it holds a certificate request and no certificate: publish what the authority made of it"
            }
            false => "it holds no certificate: publish the leaf, then its intermediates, in PEM",
        };
        Rejection::MalformedPem { what, cause: cause.into() }
    }

    fn add(&mut self, section: Section, what: &'static str) -> Result<(), Rejection> {
        let wrong_format = |format| Rejection::from_pem(what, pem::PemError::WrongFormat(format));
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => match Format::of_der(&section.der) {
                None | Some(Format::DerCertificate) => {
                    self.certificates.push(CertificateDer::from(section.der.to_vec()));
                }
                Some(Format::DerPkcs7) => return Err(wrong_format(Format::Pkcs7)),
                Some(other) => return Err(wrong_format(other)),
            },
            TRUSTED => self.certificates.push(without_settings(&section, what)?),
            // Which of them can be used is judged where a key is looked for.
            label if label.ends_with("PRIVATE KEY") => self.keys.push(section),
            "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => return Err(wrong_format(Format::Pkcs7)),
            "PKCS12" => return Err(wrong_format(Format::Pkcs12)),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => self.has_request = true,
            // What programs write beside keys and certificates.
            "EC PARAMETERS"
            | "DH PARAMETERS"
            | "X9.42 DH PARAMETERS"
            | "DSA PARAMETERS"
            | "PUBLIC KEY"
            | "RSA PUBLIC KEY"
            | "X509 CRL" => {}
            label => {
                let cause =
                    format!("its section {label} is neither a certificate nor a private key: remove it");
                return Err(Rejection::MalformedPem { what, cause });
            }
        }
        Ok(())
    }
}

/// The certificate without what OpenSSL writes behind it. Names and key identifiers there change nothing; what it is
/// trusted for would.
fn without_settings(section: &Section, what: &'static str) -> Result<CertificateDer<'static>, Rejection> {
    let der = section.der.as_slice();
    let malformed = |cause: &str| Rejection::MalformedPem { what, cause: cause.into() };
    let (settings, _) = X509Certificate::from_der(der).map_err(|_| {
        malformed("its section TRUSTED CERTIFICATE is not DER of a certificate; write it again")
    })?;
    // A sequence, whose first element says what is in it.
    let first = match settings {
        [0x30, length, first, ..] if *length < 0x80 => Some(*first),
        [0x30, 0x81, _, first, ..] | [0x30, 0x82, _, _, first, ..] => Some(*first),
        _ => None,
    };
    if first.is_some_and(|first| TRUST_SETTINGS.contains(&first)) {
        return Err(malformed(
            "its section TRUSTED CERTIFICATE says what the certificate is trusted for, which is not applied: convert it \
             with openssl x509 -in FILE -out NEW",
        ));
    }
    Ok(CertificateDer::from(der[..der.len() - settings.len()].to_vec()))
}
