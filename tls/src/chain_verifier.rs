//! Chains under the roots of a bundle: one's own, those of clients and those of servers, by the same rules. The search for
//! a path and the signatures are webpki's. What may be spent on them is limited before, and each path that is found has to
//! follow rules that webpki does not know: nothing is accepted that webpki refuses.

mod revocation;
pub(crate) mod rules;
mod words;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, OtherError};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::chain_limits::{ChainLimit, ChainLimits};
use crate::crypto::algorithms;
use crate::identity::{RevocationLists, Root};
pub(crate) use rules::{PathFault, RootRules};
pub(crate) use words::in_words;

/// What the other side is, by which the extended key usage of all certificates is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Server,
    Client,
}

/// Verifies chains under certain roots.
#[derive(Clone)]
pub(crate) struct ChainVerifier(Arc<Roots>);

struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// Of each anchor.
    rules: Vec<RootRules>,
    limits: ChainLimits,
    revocation: Option<Arc<RevocationLists>>,
}

/// Why a chain is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("{0}")]
    Limit(ChainLimit),
    #[error("{0}")]
    Rule(PathFault),
    #[error("{}", in_words(.0))]
    Webpki(webpki::Error),
}

impl From<ChainLimit> for ChainError {
    fn from(limit: ChainLimit) -> Self {
        Self::Limit(limit)
    }
}

impl From<webpki::Error> for ChainError {
    fn from(error: webpki::Error) -> Self {
        Self::Webpki(error)
    }
}

impl ChainVerifier {
    pub fn new<'a>(
        roots: impl IntoIterator<Item = &'a Root>,
        revocation: Option<Arc<RevocationLists>>,
    ) -> Self {
        let (anchors, rules): (Vec<_>, Vec<_>) =
            roots.into_iter().map(|root| (root.anchor.clone(), root.rules.clone())).unzip();
        let limits = ChainLimits::under(&anchors);
        Self(Arc::new(Roots { anchors, rules, limits, revocation }))
    }

    /// The path from the leaf to a root, within the limits, if there is one that follows the rules.
    pub fn verify<'p>(
        &'p self,
        end_entity: &'p EndEntityCert<'p>,
        chain: (&CertificateDer<'_>, &'p [CertificateDer<'p>]),
        purpose: Purpose,
        at: UnixTime,
    ) -> Result<VerifiedPath<'p>, ChainError> {
        let (der, intermediates) = chain;
        let fault = Cell::new(None);
        let follows_rules = |path: &VerifiedPath<'_>| {
            let root = self.rules_of(path.anchor()).ok_or(PathFault::Malformed);
            let check = |root| {
                rules::check(path, root, purpose, at)?;
                match &self.0.revocation {
                    Some(lists) => revocation::check(path, root, lists, system_time(at)),
                    None => Ok(()),
                }
            };
            root.and_then(check).map_err(|found| {
                // Of the first path, as the next may lead over a root that the peer has sent along; but that a certificate
                // is revoked is said whichever path it is on.
                let known = fault.take().filter(|_| !matches!(found, PathFault::Revoked { .. }));
                fault.set(Some(known.unwrap_or(found)));
                webpki::Error::PathLenConstraintViolated
            })
        };
        let verify = || {
            let usage = match purpose {
                Purpose::Server => KeyUsage::server_auth(),
                Purpose::Client => KeyUsage::client_auth(),
            };
            end_entity.verify_for_usage(
                algorithms().all,
                &self.0.anchors,
                intermediates,
                at,
                usage,
                None,
                Some(&follows_rules),
            )
        };
        match self.0.limits.verify(der, intermediates, verify)? {
            Ok(path) => Ok(path),
            // Webpki goes on to look for another path, and reports what is wrong with that.
            Err(error) => Err(fault.take().map_or(ChainError::Webpki(error), ChainError::Rule)),
        }
    }

    /// Whether there is such a path, for verifiers of rustls.
    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed =
            EndEntityCert::try_from(end_entity).map_err(|error| to_rustls(ChainError::Webpki(error)))?;
        self.verify(&parsed, (end_entity, intermediates), purpose, at).map(|_| ()).map_err(to_rustls)
    }

    /// Whether the chain, leaf first, is refused because it is revoked.
    pub fn revokes(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        [Purpose::Client, Purpose::Server].into_iter().any(|purpose| {
            matches!(self.revocation_fault(chain, purpose, at), Some(PathFault::Revoked { .. }))
        })
    }

    /// Why a chain, leaf first, is refused for its revocation: it is revoked, or that cannot be told.
    pub fn revocation_fault(
        &self,
        chain: &[CertificateDer<'static>],
        purpose: Purpose,
        at: UnixTime,
    ) -> Option<PathFault> {
        self.0.revocation.as_ref()?;
        let [end_entity, intermediates @ ..] = chain else { return None };
        let parsed = EndEntityCert::try_from(end_entity).ok()?;
        match self.verify(&parsed, (end_entity, intermediates), purpose, at) {
            Err(ChainError::Rule(fault @ (PathFault::Revoked { .. } | PathFault::RevocationUnknown(_)))) => {
                Some(fault)
            }
            _ => None,
        }
    }

    fn rules_of(&self, anchor: &TrustAnchor<'_>) -> Option<&RootRules> {
        let index = self.0.anchors.iter().position(|own| std::ptr::eq(own, anchor))?;
        self.0.rules.get(index)
    }
}

impl fmt::Debug for ChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainVerifier").field("roots", &self.0.anchors.len()).finish_non_exhaustive()
    }
}

fn system_time(at: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.as_secs())
}

/// As rustls reports it, and sends the alert that belongs to it.
fn to_rustls(error: ChainError) -> rustls::Error {
    use webpki::Error as E;
    let error = match error {
        ChainError::Limit(limit) => return limit.into(),
        ChainError::Rule(PathFault::Revoked { .. }) => return CertificateError::Revoked.into(),
        ChainError::Rule(fault) => return CertificateError::Other(OtherError(Arc::new(fault))).into(),
        ChainError::Webpki(error) => error,
    };
    rustls::Error::InvalidCertificate(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        E::UnsupportedSignatureAlgorithmContext(context) => {
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: context.signature_algorithm_id,
                supported_algorithms: context.supported_algorithms,
            }
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: context.signature_algorithm_id,
                public_key_algorithm_id: context.public_key_algorithm_id,
            }
        }
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    })
}

#[cfg(test)]
mod tests;
