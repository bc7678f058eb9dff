//! Why a candidate is not served: each variant says what is wrong, where, and what to do.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds as date;

use crate::tls::credential::PartError;
use crate::tls::credential::pem::PemError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("{file} is missing: publish it beside the others")]
    MissingFile { file: String },
    #[error("{0}")]
    MissingDirectory(PartError),
    #[error("{0}")]
    Unreadable(PartError),
    #[error("{0}")]
    TooLarge(PartError),
    #[error("{what}: {cause}; write the whole PEM file again")]
    MalformedPem { what: &'static str, cause: String },
    #[error("{what} is not an X.509 certificate that a peer accepts: {cause}; issue it again")]
    MalformedCertificate { what: String, cause: String },
    #[error("the private key cannot be read as PKCS#8, PKCS#1 or SEC1 of a supported kind; publish it again")]
    MalformedKey,
    #[error("the private key is encrypted with a passphrase: store it decrypted, and guard the Secret")]
    EncryptedKey,
    #[error("the key is {found}; use P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits")]
    UnsupportedKey { found: String },
    #[error("the private key does not belong to the leaf certificate: publish both from one issuance")]
    KeyMismatch,
    #[error("{what} expired at {}: renew it", date(*.not_after))]
    Expired { what: String, not_after: SystemTime },
    #[error("{what} is valid only from {}: it is held until then", date(*.not_before))]
    NotYetValid { what: String, not_before: SystemTime, serial: String },
    #[error("the chain is broken: {cause}; publish the leaf followed by every intermediate")]
    ChainBroken { cause: String },
    #[error(
        "the leaf, issued by {issuer}, does not verify against its own bundle: {cause}; publish the issuing root in the bundle first"
    )]
    UntrustedByOwnBundle { issuer: String, cause: String },
    #[error("the leaf carries {}, but {wanted} is needed: issue it with that name", .carries)]
    NameMissing { wanted: String, carries: String },
    #[error(
        "the leaf's extended key usage allows {allowed}, but {wanted} is needed: issue it with that usage"
    )]
    UsageMissing { wanted: &'static str, allowed: String },
    #[error(
        "the leaf's key usage has no digitalSignature, without which its key cannot be used for TLS: issue it with that usage"
    )]
    KeyUsageMissing,
    #[error(
        "the trust bundle holds no certificate: with it no peer could be verified; publish at least one root"
    )]
    EmptyBundle,
    #[error(
        "a handshake with the candidate failed: {cause}; verify the certificate with another TLS library"
    )]
    HandshakeFailed { cause: String },
}

/// The kind of a rejection, as metric labels, health and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectionReason {
    MissingFile,
    Unreadable,
    TooLarge,
    MalformedPem,
    MalformedCertificate,
    MalformedKey,
    UnsupportedKey,
    KeyMismatch,
    Expired,
    NotYetValid,
    ChainBroken,
    UntrustedByOwnBundle,
    NameMissing,
    UsageMissing,
    EmptyBundle,
    HandshakeFailed,
}

impl RejectionReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingFile => "missing_file",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::MalformedPem => "malformed_pem",
            Self::MalformedCertificate => "malformed_certificate",
            Self::MalformedKey => "malformed_key",
            Self::UnsupportedKey => "unsupported_key",
            Self::KeyMismatch => "key_mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::ChainBroken => "chain_broken",
            Self::UntrustedByOwnBundle => "untrusted_by_own_bundle",
            Self::NameMissing => "name_missing",
            Self::UsageMissing => "usage_missing",
            Self::EmptyBundle => "empty_bundle",
            Self::HandshakeFailed => "handshake_failed",
        }
    }
}

impl Rejection {
    pub fn reason(&self) -> RejectionReason {
        match self {
            Self::MissingFile { .. } | Self::MissingDirectory(_) => RejectionReason::MissingFile,
            Self::Unreadable(_) => RejectionReason::Unreadable,
            Self::TooLarge(_) => RejectionReason::TooLarge,
            Self::MalformedPem { .. } => RejectionReason::MalformedPem,
            Self::MalformedCertificate { .. } => RejectionReason::MalformedCertificate,
            Self::MalformedKey => RejectionReason::MalformedKey,
            Self::UnsupportedKey { .. } | Self::EncryptedKey => RejectionReason::UnsupportedKey,
            Self::KeyMismatch => RejectionReason::KeyMismatch,
            Self::Expired { .. } => RejectionReason::Expired,
            Self::NotYetValid { .. } => RejectionReason::NotYetValid,
            Self::ChainBroken { .. } => RejectionReason::ChainBroken,
            Self::UntrustedByOwnBundle { .. } => RejectionReason::UntrustedByOwnBundle,
            Self::NameMissing { .. } => RejectionReason::NameMissing,
            Self::UsageMissing { .. } | Self::KeyUsageMissing => RejectionReason::UsageMissing,
            Self::EmptyBundle => RejectionReason::EmptyBundle,
            Self::HandshakeFailed { .. } => RejectionReason::HandshakeFailed,
        }
    }

    /// Whether a writer that has replaced some of the files only could have caused it, so that reading again
    /// shortly is worth while.
    pub fn may_be_torn(&self) -> bool {
        matches!(
            self,
            Self::MissingFile { .. }
                | Self::MissingDirectory(_)
                | Self::Unreadable(_)
                | Self::MalformedPem { .. }
                | Self::MalformedCertificate { .. }
                | Self::MalformedKey
                | Self::KeyMismatch
                | Self::ChainBroken { .. }
                | Self::UntrustedByOwnBundle { .. }
                | Self::EmptyBundle
        )
    }

    pub(super) fn from_pem(what: &'static str, error: PemError) -> Self {
        Self::MalformedPem { what, cause: error.to_string() }
    }
}

impl From<PartError> for Rejection {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Missing { file } => Self::MissingFile { file },
            PartError::NoDirectory { .. } => Self::MissingDirectory(error),
            PartError::TooLarge { .. } => Self::TooLarge(error),
            PartError::Unreadable { .. } => Self::Unreadable(error),
        }
    }
}
