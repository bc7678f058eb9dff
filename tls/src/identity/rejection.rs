//! Why a candidate is not served: each variant says what is wrong, where, and what to do.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds as date;

use crate::credential::PartError;
use crate::credential::pem::PemError;

/// Why a part of a candidate is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A file is missing.
    #[error("{file} is missing: publish it beside the others")]
    MissingFile {
        /// Its name.
        file: String,
    },
    /// The directory is missing.
    #[error("{0}")]
    MissingDirectory(PartError),
    /// A file cannot be read.
    #[error("{0}")]
    Unreadable(PartError),
    /// A file is too large.
    #[error("{0}")]
    TooLarge(PartError),
    /// A file is not what it should be in PEM.
    #[error("{what}: {cause}")]
    MalformedPem {
        /// Which one.
        what: &'static str,
        /// Why, and what to do.
        cause: String,
    },
    /// A file is in another format than PEM.
    #[error("{what} is {found}: {conversion}")]
    WrongFormat {
        /// Which one.
        what: &'static str,
        /// The format that it is in.
        found: &'static str,
        /// What to do, with the command.
        conversion: &'static str,
    },
    /// A certificate cannot be parsed, or no peer would accept its form.
    #[error("{what} is not an X.509 certificate that a peer accepts: {cause}; issue it again")]
    MalformedCertificate {
        /// Which one.
        what: String,
        /// Why.
        cause: String,
    },
    /// The private key cannot be parsed.
    #[error("the private key cannot be read as PKCS#8, PKCS#1 or SEC1 of a supported kind; publish it again")]
    MalformedKey,
    /// The private key is encrypted.
    #[error(
        "the private key is encrypted with a passphrase: decrypt it with openssl pkey -in FILE -out NEW, and guard the \
         Secret"
    )]
    EncryptedKey,
    /// The key is of a kind or size that is not supported.
    #[error("the key is {found}; use P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits")]
    UnsupportedKey {
        /// What it is.
        found: String,
    },
    /// The private key does not belong to the leaf.
    #[error("the private key does not belong to the leaf certificate: publish both from one issuance")]
    KeyMismatch,
    /// A certificate has expired.
    #[error("{what} expired at {}: renew it", date(*.not_after))]
    Expired {
        /// Which one.
        what: String,
        /// The end of its validity.
        not_after: SystemTime,
    },
    /// A certificate is not valid yet.
    #[error("{what} is valid only from {}: it is held until then", date(*.not_before))]
    NotYetValid {
        /// Which one.
        what: String,
        /// The start of its validity.
        not_before: SystemTime,
        /// Its serial number, in hexadecimal.
        serial: String,
    },
    /// The chain does not lead from the leaf to its last certificate.
    #[error("the chain is broken: {cause}; publish the leaf followed by every intermediate")]
    ChainBroken {
        /// Why.
        cause: String,
    },
    /// The chain is more than peers verify.
    #[error(
        "the chain would cost too much to verify: {cause}; publish the leaf followed by the intermediates that lead to its root, and nothing else"
    )]
    ChainTooCostly {
        /// Why.
        cause: String,
    },
    /// A certificate of the chain asks for something that cannot be verified here.
    #[error("{what} {cause}, which is not supported: issue it without")]
    NotSupported {
        /// Which one.
        what: String,
        /// What it has, as the rest of a sentence.
        cause: String,
    },
    /// An authority of the chain may not issue the leaf.
    #[error("the leaf's chain is refused: {cause}; issue it under an authority that may issue it")]
    IssuerNotAllowed {
        /// Why.
        cause: String,
    },
    /// Peers with the same bundle would not trust the leaf.
    #[error(
        "the leaf, issued by {issuer}, does not verify against its own bundle: {cause}; publish the issuing root in the bundle first"
    )]
    UntrustedByOwnBundle {
        /// Its issuer.
        issuer: String,
        /// Why.
        cause: String,
    },
    /// The leaf lacks a name that is required.
    #[error("the leaf carries {}, but {wanted} is needed: issue it with that name", .carries)]
    NameMissing {
        /// What is needed.
        wanted: String,
        /// What it carries.
        carries: String,
    },
    /// The extended key usage lacks what is needed.
    #[error(
        "the leaf's extended key usage allows {allowed}, but {wanted} is needed: issue it with that usage"
    )]
    UsageMissing {
        /// What is needed.
        wanted: &'static str,
        /// What it allows.
        allowed: String,
    },
    /// The key usage does not allow TLS.
    #[error(
        "the leaf's key usage has no digitalSignature, without which its key cannot be used for TLS: issue it with that usage"
    )]
    KeyUsageMissing,
    /// The trust bundle holds no certificate.
    #[error(
        "the trust bundle holds no certificate: with it no peer could be verified; publish at least one root"
    )]
    EmptyBundle,
    /// The revocation list of an authority is older than the one in use.
    #[error(
        "the revocation list of {issuer} is older than the one in use, which stays in force: publish the newest, or restart to take an older one"
    )]
    OlderRevocationList {
        /// The authority.
        issuer: String,
    },
    /// The revocation list of an authority is not its own.
    #[error(
        "the revocation list of {issuer} is not signed by the root of that name: publish the authority's own"
    )]
    UnsignedRevocationList {
        /// The authority.
        issuer: String,
    },
    /// A revocation list does not say by itself which certificates of its authority are revoked.
    #[error(
        "the revocation list of {issuer} {cause}, which is not supported: publish a complete list of the authority's own"
    )]
    UnsupportedRevocationList {
        /// The authority.
        issuer: String,
        /// What it is, as the rest of a sentence.
        cause: String,
    },
    /// The authority has withdrawn the certificate.
    #[error("{subject} is revoked: issue a new certificate")]
    Revoked {
        /// Whose certificate: the leaf's, or that of an authority of its chain.
        subject: String,
    },
    /// Whether the chain is revoked cannot be told.
    #[error("whether the leaf is revoked cannot be told: {cause}")]
    RevocationUnknown {
        /// Why, and what to do.
        cause: String,
    },
    /// The trust bundle holds no certificate of an authority.
    #[error("the trust bundle holds no root: {last}")]
    NoRoot {
        /// About the last of its certificates.
        last: String,
    },
    /// A handshake with the candidate failed.
    #[error(
        "a handshake with the candidate failed: {cause}; verify the certificate with another TLS library"
    )]
    HandshakeFailed {
        /// Why.
        cause: String,
    },
}

/// The kind of a rejection, as metric labels, health and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectionReason {
    /// A file is missing.
    MissingFile,
    /// A file cannot be read.
    Unreadable,
    /// A file is too large.
    TooLarge,
    /// A file is not what it should be in PEM.
    MalformedPem,
    /// A file is in another format than PEM.
    WrongFormat,
    /// A certificate cannot be parsed, or no peer would accept its form.
    MalformedCertificate,
    /// The private key cannot be parsed.
    MalformedKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// The key is of a kind or size that is not supported.
    UnsupportedKey,
    /// The private key does not belong to the leaf.
    KeyMismatch,
    /// A certificate has expired.
    Expired,
    /// A certificate is not valid yet.
    NotYetValid,
    /// The chain does not lead from the leaf to its last certificate.
    ChainBroken,
    /// The chain is more than peers verify.
    ChainTooCostly,
    /// A certificate of the chain asks for something that cannot be verified here.
    NotSupported,
    /// An authority of the chain may not issue the leaf.
    IssuerNotAllowed,
    /// Peers with the same bundle would not trust the leaf.
    UntrustedByOwnBundle,
    /// The leaf lacks a name that is required.
    NameMissing,
    /// The extended key usage lacks what is needed.
    UsageMissing,
    /// The trust bundle holds no certificate.
    EmptyBundle,
    /// The revocation list of an authority is older than the one in use.
    OlderRevocationList,
    /// The revocation list of an authority is not its own.
    UnsignedRevocationList,
    /// The authority has withdrawn the certificate.
    Revoked,
    /// Whether the chain is revoked cannot be told.
    RevocationUnknown,
    /// A handshake with the candidate failed.
    HandshakeFailed,
}

impl RejectionReason {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingFile => "missing_file",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::MalformedPem => "malformed_pem",
            Self::WrongFormat => "wrong_format",
            Self::MalformedCertificate => "malformed_certificate",
            Self::MalformedKey => "malformed_key",
            Self::EncryptedKey => "encrypted_key",
            Self::UnsupportedKey => "unsupported_key",
            Self::KeyMismatch => "key_mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::ChainBroken => "chain_broken",
            Self::ChainTooCostly => "chain_too_costly",
            Self::NotSupported => "not_supported",
            Self::IssuerNotAllowed => "issuer_not_allowed",
            Self::UntrustedByOwnBundle => "untrusted_by_own_bundle",
            Self::NameMissing => "name_missing",
            Self::UsageMissing => "usage_missing",
            Self::EmptyBundle => "empty_bundle",
            Self::OlderRevocationList => "older_revocation_list",
            Self::UnsignedRevocationList => "unsigned_revocation_list",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::HandshakeFailed => "handshake_failed",
        }
    }
}

impl Rejection {
    /// The kind of the rejection.
    pub fn reason(&self) -> RejectionReason {
        match self {
            Self::MissingFile { .. } | Self::MissingDirectory(_) => RejectionReason::MissingFile,
            Self::Unreadable(_) => RejectionReason::Unreadable,
            Self::TooLarge(_) => RejectionReason::TooLarge,
            Self::MalformedPem { .. } => RejectionReason::MalformedPem,
            Self::WrongFormat { .. } => RejectionReason::WrongFormat,
            Self::MalformedCertificate { .. } => RejectionReason::MalformedCertificate,
            Self::MalformedKey => RejectionReason::MalformedKey,
            Self::EncryptedKey => RejectionReason::EncryptedKey,
            Self::UnsupportedKey { .. } => RejectionReason::UnsupportedKey,
            Self::KeyMismatch => RejectionReason::KeyMismatch,
            Self::Expired { .. } => RejectionReason::Expired,
            Self::NotYetValid { .. } => RejectionReason::NotYetValid,
            Self::ChainBroken { .. } => RejectionReason::ChainBroken,
            Self::ChainTooCostly { .. } => RejectionReason::ChainTooCostly,
            Self::NotSupported { .. } | Self::UnsupportedRevocationList { .. } => {
                RejectionReason::NotSupported
            }
            Self::IssuerNotAllowed { .. } => RejectionReason::IssuerNotAllowed,
            Self::UntrustedByOwnBundle { .. } => RejectionReason::UntrustedByOwnBundle,
            Self::NameMissing { .. } => RejectionReason::NameMissing,
            Self::UsageMissing { .. } | Self::KeyUsageMissing => RejectionReason::UsageMissing,
            Self::EmptyBundle | Self::NoRoot { .. } => RejectionReason::EmptyBundle,
            Self::OlderRevocationList { .. } => RejectionReason::OlderRevocationList,
            Self::UnsignedRevocationList { .. } => RejectionReason::UnsignedRevocationList,
            Self::Revoked { .. } => RejectionReason::Revoked,
            Self::RevocationUnknown { .. } => RejectionReason::RevocationUnknown,
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
        match error {
            PemError::Encrypted { .. } => Self::EncryptedKey,
            PemError::WrongFormat(format) => {
                Self::WrongFormat { what, found: format.name(), conversion: format.conversion() }
            }
            error => Self::MalformedPem { what, cause: error.to_string() },
        }
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
