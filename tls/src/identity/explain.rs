//! Why peers would refuse a chain, in words about the certificate that is the cause.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::{Certificate, LEAF, parse_certificate, unusable_issuer_key};
use super::rejection::Rejection;
use super::trust::Trust;
use crate::chain_verifier::rules::has_unsupported_constraints;
use crate::chain_verifier::{ChainError, PathFault};

/// Extensions that are understood when they are critical: key usage, names, basic constraints, constraints on names,
/// distribution points of CRLs, extended key usage.
const UNDERSTOOD: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
const EXTENSIONS: [(&str, &str); 4] = [
    ("2.5.29.32", "certificate policies"),
    ("2.5.29.33", "policy mappings"),
    ("2.5.29.36", "policy constraints"),
    ("2.5.29.54", "inhibit anyPolicy"),
];
const SIGNATURES: [(&str, &str); 5] = [
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS with other parameters than SHA-256, SHA-384 or SHA-512"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.3.101.113", "Ed448"),
];

/// A chain that is refused.
pub(super) struct Explain<'a> {
    pub end_entity: &'a CertificateDer<'a>,
    pub intermediates: &'a [CertificateDer<'static>],
    pub facts: &'a Certificate,
    pub trust: Option<&'a Trust>,
}

impl Explain<'_> {
    pub fn rejection(&self, error: ChainError) -> Rejection {
        let error = match error {
            ChainError::Limit(limit) => return Rejection::ChainTooCostly { cause: limit.to_string() },
            ChainError::Rule(fault) => return self.of_rule(fault),
            ChainError::Webpki(error) => error,
        };
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Rejection::Expired {
                what: "a certificate of its chain".into(),
                not_after: UNIX_EPOCH + Duration::from_secs(not_after.as_secs()),
            },
            E::CertNotValidYet { not_before, .. } => Rejection::NotYetValid {
                what: "a certificate of its chain".into(),
                not_before: UNIX_EPOCH + Duration::from_secs(not_before.as_secs()),
                serial: self.facts.serial.clone(),
            },
            E::CaUsedAsEndEntity => malformed(LEAF.into(), "it is a CA certificate"),
            E::UnknownIssuer if self.issuer_is_absent() => Rejection::ChainBroken {
                cause: format!(
                    "none of the {} intermediates is {}",
                    self.intermediates.len(),
                    self.facts.issuer
                ),
            },
            E::UnknownIssuer => self.untrusted("no root of the bundle issued it".into()),
            E::EndEntityUsedAsCa => {
                Rejection::ChainBroken { cause: "an intermediate is not a CA certificate".into() }
            }
            E::InvalidSignatureForPublicKey => self.of_signature(),
            E::NameConstraintViolation => self.of_constraints(),
            E::UnsupportedCriticalExtension => self.of_extension(),
            E::UnsupportedSignatureAlgorithmContext(context) => {
                self.of_algorithm(&context.signature_algorithm_id)
            }
            E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
                self.of_algorithm(&context.signature_algorithm_id)
            }
            E::BadDerTime => {
                let dated = self.find(|certificate| certificate.validity().not_before.timestamp() < 0);
                let cause = match dated {
                    Some(_) => "it is dated before 1970",
                    None => "one of its dates cannot be read",
                };
                malformed(dated.unwrap_or_else(|| LEAF.into()), cause)
            }
            E::BadDer | E::TrailingData(_) => malformed(self.unparsed(), "it is not DER of a certificate"),
            E::UnsupportedCertVersion => malformed(LEAF.into(), "it is not of X.509 version 3"),
            E::InvalidCertValidity => malformed(LEAF.into(), "it ends before it begins"),
            error => self.untrusted(format!("the verifier says {error}")),
        }
    }

    fn of_rule(&self, fault: PathFault) -> Rejection {
        match fault {
            PathFault::RootNotYetValid { root, not_before } => Rejection::NotYetValid {
                what: format!("the root {root}"),
                not_before,
                serial: self.facts.serial.clone(),
            },
            PathFault::RootExpired { root, not_after } => {
                Rejection::Expired { what: format!("the root {root}"), not_after }
            }
            PathFault::Revoked { subject } => Rejection::Revoked { subject },
            PathFault::RevocationUnknown(unknown) => {
                Rejection::RevocationUnknown { cause: unknown.to_string() }
            }
            fault => Rejection::IssuerNotAllowed { cause: fault.to_string() },
        }
    }

    /// A signature that does not verify: also because the key is of a kind that nothing is verified with.
    fn of_signature(&self) -> Rejection {
        let issuer = self.find_issuer(|certificate| unusable_issuer_key(certificate).is_some());
        if let Some((what, certificate)) = issuer {
            let key = unusable_issuer_key(&certificate).unwrap_or_default();
            return Rejection::NotSupported { what, cause: format!("has a key {key}") };
        }
        match self.intermediates.is_empty() {
            false => Rejection::ChainBroken { cause: "a signature does not verify".into() },
            true => self.untrusted("the signature does not verify under the root of that name".into()),
        }
    }

    fn of_constraints(&self) -> Rejection {
        let cause = "has constraints on URIs or directory names";
        let unsupported = |what| Rejection::NotSupported { what, cause: cause.into() };
        if let Some((what, _)) = self.find_issuer(has_unsupported_constraints) {
            return unsupported(what);
        }
        let mut roots = self.trust.into_iter().flat_map(|trust| &trust.roots);
        match roots.find(|root| root.rules.unsupported_constraints) {
            Some(root) => unsupported(format!("the root {}", root.subject)),
            None => self.untrusted("a name lies outside the constraints of its issuer".into()),
        }
    }

    fn of_extension(&self) -> Rejection {
        let unknown = |certificate: &X509Certificate<'_>| {
            let mut critical = certificate.extensions().iter().filter(|extension| extension.critical);
            critical
                .find(|extension| !UNDERSTOOD.contains(&extension.oid.to_id_string().as_str()))
                .map(|extension| named(&EXTENSIONS, &extension.oid.to_id_string()))
        };
        for (what, certificate) in self.parsed() {
            if let Some(extension) = unknown(&certificate) {
                return Rejection::NotSupported {
                    what,
                    cause: format!("has the critical extension {extension}"),
                };
            }
        }
        malformed(LEAF.into(), "a critical extension of its chain is not supported")
    }

    /// `algorithm`: the identifier in DER.
    fn of_algorithm(&self, algorithm: &[u8]) -> Rejection {
        for (what, certificate) in self.parsed() {
            let oid = &certificate.signature_algorithm.algorithm;
            if algorithm.windows(oid.as_bytes().len()).any(|window| window == oid.as_bytes()) {
                let name = named(&SIGNATURES, &oid.to_id_string());
                return Rejection::NotSupported { what, cause: format!("is signed by {name}") };
            }
        }
        self.untrusted("a signature is of an algorithm that is not supported".into())
    }

    fn untrusted(&self, cause: String) -> Rejection {
        Rejection::UntrustedByOwnBundle { issuer: self.facts.issuer.clone(), cause }
    }

    /// There are intermediates, and the leaf's issuer is not one of them.
    fn issuer_is_absent(&self) -> bool {
        let is_issuer = |der: &CertificateDer<'static>| {
            parse_certificate(der, "an intermediate")
                .is_ok_and(|certificate| certificate.subject == self.facts.issuer)
        };
        !self.intermediates.is_empty() && !self.intermediates.iter().any(is_issuer)
    }

    /// What each certificate of the chain is called, and what it says.
    fn parsed(&self) -> impl Iterator<Item = (String, X509Certificate<'_>)> {
        let leaf = std::iter::once((LEAF.to_owned(), self.end_entity.as_ref()));
        let intermediates = self.intermediates.iter().enumerate();
        let intermediates =
            intermediates.map(|(index, der)| (format!("intermediate {}", index + 1), der.as_ref()));
        leaf.chain(intermediates).filter_map(|(what, der)| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let what = if what == LEAF { what } else { format!("{what} ({})", certificate.subject()) };
            Some((what, certificate))
        })
    }

    fn find_issuer(
        &self,
        is_wanted: impl Fn(&X509Certificate<'_>) -> bool,
    ) -> Option<(String, X509Certificate<'_>)> {
        self.parsed().skip(1).find(|(_, certificate)| is_wanted(certificate))
    }

    fn find(&self, is_wanted: impl Fn(&X509Certificate<'_>) -> bool) -> Option<String> {
        self.parsed().find(|(_, certificate)| is_wanted(certificate)).map(|(what, _)| what)
    }

    /// The first certificate that is not one.
    fn unparsed(&self) -> String {
        let bad = |der: &CertificateDer<'_>| X509Certificate::from_der(der).is_err();
        match self.intermediates.iter().position(bad) {
            Some(index) => format!("intermediate {}", index + 1),
            None => LEAF.into(),
        }
    }
}

fn malformed(what: String, cause: &str) -> Rejection {
    Rejection::MalformedCertificate { what, cause: cause.into() }
}

/// With its name, if it has one here.
fn named(names: &[(&str, &str)], oid: &str) -> String {
    match names.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => format!("{name} ({oid})"),
        None => oid.into(),
    }
}
