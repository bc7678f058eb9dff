//! What webpki finds, as a clause: its own texts are the names of its errors.

use webpki::Error;

/// Why a certificate, a chain or a revocation list is refused.
pub(crate) fn in_words(error: &Error) -> &'static str {
    match error {
        Error::BadDer | Error::TrailingData(_) => "it is not DER of a certificate",
        Error::BadDerTime => "one of its dates cannot be read, or lies before 1970",
        Error::CaUsedAsEndEntity => "it is a CA certificate",
        Error::EmptyEkuExtension => "its extended key usage is empty",
        Error::EndEntityUsedAsCa => "its issuer is not a CA certificate",
        Error::ExtensionValueInvalid | Error::MalformedExtensions => "one of its extensions is malformed",
        Error::InvalidCertValidity => "it ends before it begins",
        Error::InvalidSerialNumber => "its serial number is malformed",
        Error::InvalidNetworkMaskConstraint | Error::MalformedNameConstraint => {
            "a constraint on names is malformed"
        }
        Error::MalformedDnsIdentifier | Error::UnsupportedNameType => "one of its names is malformed",
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => "it takes too many steps",
        Error::NameConstraintViolation => "a name lies outside the constraints of its issuer",
        Error::PathLenConstraintViolated => "an authority allows fewer intermediates below it",
        Error::SignatureAlgorithmMismatch => "it names two signature algorithms",
        Error::UnsupportedCertVersion => "it is not of X.509 version 3",
        Error::UnsupportedCriticalExtension => "one of its critical extensions is not supported",
        Error::InvalidCrlNumber => "its number is malformed",
        Error::UnsupportedCrlVersion => "it is not of version 2",
        Error::UnsupportedCrlIssuingDistributionPoint
        | Error::UnsupportedDeltaCrl
        | Error::UnsupportedIndirectCrl
        | Error::UnsupportedRevocationReason
        | Error::UnsupportedRevocationReasonsPartitioning => "it is a part of a list, or of other issuers",
        _ => "it is of a kind that is not supported",
    }
}
