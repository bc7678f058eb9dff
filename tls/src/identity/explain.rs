//! Why peers would refuse a chain, in words about the certificate that is the cause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Version;

use super::certificate::{Certificate, LEAF};
use super::key_kind;
use super::rejection::Rejection;
use super::trust::Trust;
use crate::chain_verifier::rules::{UnsupportedNames, constraints_fault};
use crate::chain_verifier::{ChainError, PathFault, in_words};

/// Extensions that are understood when they are critical: key usage, names, basic constraints, constraints on names,
/// distribution points of CRLs, extended key usage.
pub(super) const UNDERSTOOD: [&str; 6] =
    ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
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
            E::CertExpired { not_after, .. } => {
                let end = not_after.as_secs();
                let what =
                    self.find(|certificate| certificate.validity().not_after.timestamp() == end as i64);
                Rejection::Expired { what: what.unwrap_or_else(of_chain), not_after: system_time(end) }
            }
            E::CertNotValidYet { not_before, .. } => {
                let start = not_before.as_secs();
                let what =
                    self.find(|certificate| certificate.validity().not_before.timestamp() == start as i64);
                Rejection::NotYetValid {
                    what: what.unwrap_or_else(of_chain),
                    not_before: system_time(start),
                    serial: self.facts.serial.clone(),
                }
            }
            E::UnknownIssuer => self.of_issuer(),
            E::EndEntityUsedAsCa => {
                let what = self.find_issuer(|certificate| !certificate.is_ca());
                let what = what.map_or("an intermediate".into(), |(what, _)| what);
                Rejection::ChainBroken { cause: format!("{what} is not a CA certificate") }
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
            E::BadDer | E::TrailingData(_) => malformed(self.unparsed(), in_words(&error)),
            E::UnsupportedCertVersion => {
                malformed_of(self.find(|certificate| certificate.version() != X509Version::V3), &error)
            }
            E::InvalidCertValidity => malformed_of(
                self.find(|certificate| {
                    certificate.validity().not_after.timestamp()
                        < certificate.validity().not_before.timestamp()
                }),
                &error,
            ),
            E::CaUsedAsEndEntity => malformed_of(None, &error),
            E::PathLenConstraintViolated => Rejection::IssuerNotAllowed { cause: in_words(&error).into() },
            E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded => {
                Rejection::ChainTooCostly { cause: in_words(&error).into() }
            }
            error => malformed(of_chain(), in_words(&error)),
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
            PathFault::LeafKey { found } => Rejection::UnsupportedKey { found },
            PathFault::IssuerKey { subject, found } => Rejection::NotSupported {
                what: format!("the intermediate {subject}"),
                cause: format!("has a key that is {found}"),
            },
            PathFault::RevocationUnknown(unknown) => {
                Rejection::RevocationUnknown { cause: unknown.to_string() }
            }
            fault => Rejection::IssuerNotAllowed { cause: fault.to_string() },
        }
    }

    /// A signature that does not verify: also because the key is of a kind that nothing is verified with.
    fn of_signature(&self) -> Rejection {
        let unusable = |certificate: &X509Certificate<'_>| key_kind::unusable(certificate.public_key());
        let issuer = self.find_issuer(|certificate| unusable(certificate).is_some());
        if let Some((what, certificate)) = issuer {
            let key = unusable(&certificate).unwrap_or_default();
            let cause = format!("has a key that no signature is verified with ({key})");
            return Rejection::NotSupported { what, cause };
        }
        match self.intermediates.is_empty() {
            false => Rejection::ChainBroken { cause: "a signature does not verify".into() },
            true => self.untrusted("the signature does not verify under the root of that name".into()),
        }
    }

    fn of_constraints(&self) -> Rejection {
        let fault =
            self.parsed().skip(1).find_map(|(what, issuer)| Some((what, constraints_fault(&issuer)?)));
        if let Some((what, fault)) = fault {
            return Rejection::IssuerNotAllowed { cause: format!("{what} {fault}") };
        }
        let cause =
            "has constraints on names of a kind that the leaf bears, other than DNS names and IP addresses";
        let unsupported = |what| Rejection::NotSupported { what, cause: cause.into() };
        let borne =
            self.parsed().next().map(|(_, leaf)| UnsupportedNames::borne_by(&leaf)).unwrap_or_default();
        let issuer = self.find_issuer(|issuer| UnsupportedNames::constrained_by(issuer).meet(borne));
        if let Some((what, _)) = issuer {
            return unsupported(what);
        }
        let mut roots = self.trust.into_iter().flat_map(|trust| &trust.roots);
        match roots.find(|root| root.rules.unsupported_names.meet(borne)) {
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

    /// A certificate of the chain whose issuer is not there.
    fn of_issuer(&self) -> Rejection {
        let mut at = (LEAF.to_owned(), self.facts.issuer.clone());
        // Names may lead in a circle.
        for _ in 0..self.intermediates.len() {
            let next = self.find_issuer(|certificate| certificate.subject().to_string() == at.1);
            match next.map(|(what, certificate)| (what, certificate.issuer().to_string())) {
                Some(next) if next != at => at = next,
                _ => break,
            }
        }
        let (what, issuer) = at;
        let mut passed_over = self.trust.into_iter().flat_map(|trust| &trust.passed_over);
        if let Some(why) = passed_over.find(|why| why.contains(&format!("({issuer})"))) {
            return self.untrusted(why.clone());
        }
        match what == LEAF && !self.intermediates.is_empty() {
            true => Rejection::ChainBroken {
                cause: format!("none of the {} intermediates is {issuer}", self.intermediates.len()),
            },
            false if what == LEAF => {
                self.untrusted("neither a root of the bundle nor an intermediate issued it".into())
            }
            false => self.untrusted(format!("no root of the bundle is {issuer}, which issued {what}")),
        }
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

/// If it is not one that can be named, of the leaf.
fn malformed_of(what: Option<String>, error: &webpki::Error) -> Rejection {
    malformed(what.unwrap_or_else(|| LEAF.into()), in_words(error))
}

fn of_chain() -> String {
    "a certificate of its chain".into()
}

fn system_time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
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
