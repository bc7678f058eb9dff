//! What the verification of one chain may cost. A peer that is not trusted chooses what it presents: many
//! certificates, large ones, or a few whose names lead from each to each, so that a verifier tries every order of
//! them. All of it is bounded before it is computed, and a peer's chain as strictly as one's own.

use std::collections::HashMap;

use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::{CertificateError, OtherError};
use webpki::EndEntityCert;

use crate::crypto::FailureBudget;

/// Certificates of a chain, with the leaf. Chains have two to four; with a root that is not needed, or an issuer that
/// is certified by two roots, a few more. Verifiers follow six intermediates at most.
pub(crate) const MAX_CERTIFICATES: usize = 10;
/// Bytes of a chain. A certificate has one to two thousand, and a thousand names make a leaf of some forty thousand;
/// a handshake message of TLS holds no more than this here.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// Steps from a certificate to one that could be its issuer, by name, over all paths. A chain in order has one for
/// each intermediate; two certificates for each of three issuers make 14.
const MAX_STEPS: usize = 24;
/// Intermediates that a path can have, as the verifier has it.
const MAX_INTERMEDIATES_OF_PATH: usize = 6;
/// With so few intermediates no order of them makes more than `MAX_STEPS`.
const FEW_INTERMEDIATES: usize = 3;
/// Signatures that may fail to verify before a chain is refused, or half as many of costly ones, besides one for each
/// further root of the same name: an honest chain has none, or one for an issuer that is certified by a root of the
/// same name with another key.
const MAX_FAILURES: u32 = 3;

/// Why a chain is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainLimit {
    #[error("it has {0} certificates, and {MAX_CERTIFICATES} are the most")]
    Certificates(usize),
    #[error("it has {0} bytes, and {MAX_BYTES} are the most")]
    Bytes(usize),
    #[error("the names of its certificates lead to each other in too many ways")]
    Paths,
    #[error("too many of its signatures are not those of the issuers that it names")]
    Signatures,
}

impl From<ChainLimit> for rustls::Error {
    fn from(limit: ChainLimit) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(limit))))
    }
}

/// The limits for chains under certain roots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainLimits {
    roots_of_one_name: u32,
}

impl ChainLimits {
    /// Roots of one name are tried one after the other, so an honest chain may fail under all of them but one.
    pub fn under(roots: &[TrustAnchor<'_>]) -> Self {
        let mut names: HashMap<&[u8], u32> = HashMap::new();
        for root in roots {
            *names.entry(root.subject.as_ref()).or_default() += 1;
        }
        Self { roots_of_one_name: names.into_values().max().unwrap_or_default() }
    }

    /// Runs `verify`, which verifies this chain on this thread, if the chain is within the limits and as long as its
    /// signatures are.
    pub fn verify<T, E>(
        self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        verify: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>, ChainLimit> {
        check_size(end_entity, intermediates)?;
        check_paths(end_entity, intermediates)?;
        let budget = FailureBudget::begin(self.roots_of_one_name.saturating_sub(1), MAX_FAILURES);
        match verify() {
            Err(_) if budget.is_exceeded() => Err(ChainLimit::Signatures),
            result => Ok(result),
        }
    }
}

fn check_size(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), ChainLimit> {
    let certificates = intermediates.len() + 1;
    if certificates > MAX_CERTIFICATES {
        return Err(ChainLimit::Certificates(certificates));
    }
    let bytes = end_entity.len() + intermediates.iter().map(|certificate| certificate.len()).sum::<usize>();
    if bytes > MAX_BYTES {
        return Err(ChainLimit::Bytes(bytes));
    }
    Ok(())
}

/// Counts the steps that a verifier would take if no path led to a root.
fn check_paths(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), ChainLimit> {
    if intermediates.len() <= FEW_INTERMEDIATES {
        return Ok(());
    }
    // What cannot be parsed is refused by the verifier, or skipped.
    let Ok(leaf) = EndEntityCert::try_from(end_entity) else { return Ok(()) };
    let parsed = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
    let issuers: Vec<_> = parsed.collect();
    let mut paths = Paths { issuers: &issuers, used: [false; MAX_CERTIFICATES], steps: 0 };
    if paths.follow(leaf.issuer(), 0) { Ok(()) } else { Err(ChainLimit::Paths) }
}

struct Paths<'a> {
    issuers: &'a [EndEntityCert<'a>],
    /// Those on the path.
    used: [bool; MAX_CERTIFICATES],
    steps: usize,
}

impl Paths<'_> {
    /// Whether all paths on from a certificate of this issuer are within the limit.
    fn follow(&mut self, issuer: &[u8], length: usize) -> bool {
        for (index, candidate) in self.issuers.iter().enumerate() {
            if self.used[index] || candidate.subject() != issuer {
                continue;
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return false;
            }
            if length < MAX_INTERMEDIATES_OF_PATH {
                self.used[index] = true;
                let within = self.follow(candidate.issuer(), length + 1);
                self.used[index] = false;
                if !within {
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
