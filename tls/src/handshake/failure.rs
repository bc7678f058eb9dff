//! Why a handshake failed: the reason under which it is counted, and a sentence that names the cause to a reader
//! who does not know rustls.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::HandshakeFailure;
use crate::chain_limits::ChainLimit;
use crate::chain_verifier::in_words;
use crate::config::WrongServer;

/// The other end of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Client,
    Server,
}

impl Remote {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Server => "the server",
        }
    }
}

pub(super) fn classify(error: &io::Error) -> HandshakeFailure {
    match tls_error(error) {
        None => HandshakeFailure::Closed,
        Some(Error::NoCertificatesPresented) => HandshakeFailure::NoCertificate,
        Some(Error::InvalidCertificate(cause)) => match cause {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => HandshakeFailure::Expired,
            CertificateError::UnknownIssuer => HandshakeFailure::Untrusted,
            CertificateError::Other(cause) if cause.0.is::<ChainLimit>() => HandshakeFailure::ChainTooCostly,
            CertificateError::Other(cause) if cause.0.is::<WrongServer>() => HandshakeFailure::WrongName,
            _ => HandshakeFailure::BadCertificate,
        },
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked => HandshakeFailure::RefusedByPeer,
            _ => HandshakeFailure::Alert,
        },
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => HandshakeFailure::Incompatible,
        Some(_) => HandshakeFailure::Malformed,
    }
}

/// The cause as a clause, such as "the client does not trust the certificate presented to it".
pub(super) fn describe(error: &io::Error, remote: Remote) -> String {
    let name = remote.as_str();
    match tls_error(error) {
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("{name} closed the connection before it was complete"),
            io::ErrorKind::ConnectionReset => format!("{name} reset the connection before it was complete"),
            _ => error.to_string(),
        },
        Some(Error::InvalidCertificate(cause)) => describe_certificate(cause, name),
        Some(Error::AlertReceived(alert)) => describe_alert(*alert, name),
        Some(Error::NoCertificatesPresented) => format!("{name} presented no certificate"),
        Some(Error::PeerIncompatible(_)) => {
            format!("{name} supports no TLS version, cipher suite or signature scheme that is allowed here")
        }
        Some(Error::InvalidMessage(_)) => format!("{name} does not speak TLS"),
        Some(Error::DecryptError) => format!("{name} sent a record that cannot be decrypted"),
        Some(Error::NoApplicationProtocol) => {
            format!("{name} offers no application protocol (ALPN) that is served here")
        }
        Some(Error::General(cause)) => cause.clone(),
        Some(
            Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord,
        ) => format!("{name} violated the TLS protocol"),
        Some(other) => other.to_string(),
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// A CA's certificate was shown in place of a leaf.
fn is_a_ca(cause: &OtherError) -> bool {
    matches!(cause.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Why the certificate of `remote` is not accepted.
fn describe_certificate(cause: &CertificateError, remote: &str) -> String {
    let certificate = format!("{remote}'s certificate");
    match cause {
        CertificateError::UnknownIssuer => {
            format!("{certificate} is not signed by a root in the trust bundle")
        }
        CertificateError::Expired => format!("{certificate} or its chain is expired"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{certificate} or its chain expired at {}", date(*not_after))
        }
        CertificateError::NotValidYet => format!("{certificate} or its chain is not valid yet"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{certificate} or its chain is not valid before {}", date(*not_before))
        }
        CertificateError::Revoked => format!("{certificate} is revoked"),
        CertificateError::BadEncoding => format!("{certificate} cannot be parsed"),
        CertificateError::BadSignature => format!("{certificate} or its chain has an invalid signature"),
        CertificateError::UnhandledCriticalExtension => {
            format!("{certificate} or its chain has a critical extension that is not supported")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{certificate} is not valid for this use: its extended key usage does not include it")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{certificate} is not valid for the name of the server")
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("{certificate} or its chain is signed with an algorithm that is not supported")
        }
        CertificateError::Other(cause) if is_a_ca(cause) => {
            format!("{certificate} is the certificate of a CA, such as a self-signed one; a leaf is needed")
        }
        CertificateError::Other(cause) if cause.0.is::<WrongServer>() => cause.0.to_string(),
        CertificateError::Other(cause) => match cause.0.downcast_ref::<ChainLimit>() {
            Some(limit) => format!("the chain of {certificate} would cost too much to verify: {limit}"),
            None => match cause.0.downcast_ref() {
                Some(error) => format!("{certificate} cannot be verified: {}", in_words(error)),
                None => format!("{certificate} cannot be verified: {}", cause.0),
            },
        },
        _ => format!("{certificate} cannot be verified"),
    }
}

/// What `remote` reports with an alert.
fn describe_alert(alert: AlertDescription, remote: &str) -> String {
    match alert {
        AlertDescription::UnknownCA => format!("{remote} does not trust the certificate presented to it"),
        AlertDescription::CertificateExpired => {
            format!("{remote} considers the certificate presented to it expired")
        }
        AlertDescription::CertificateRevoked => {
            format!("{remote} considers the certificate presented to it revoked")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            format!("{remote} rejected the certificate presented to it")
        }
        AlertDescription::CertificateRequired => format!("{remote} requires a client certificate"),
        AlertDescription::AccessDenied => format!("{remote} denied access"),
        AlertDescription::UnrecognisedName => format!("{remote} does not serve the requested name (SNI)"),
        AlertDescription::NoApplicationProtocol => {
            format!("{remote} supports none of the offered application protocols (ALPN)")
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => {
            format!("{remote} accepts no TLS version, cipher suite or signature scheme that is offered")
        }
        AlertDescription::InternalError => format!("{remote} reported an internal error"),
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => {
            format!("{remote} closed the connection before it was complete")
        }
        other => format!("{remote} sent TLS alert {}", u8::from(other)),
    }
}

fn date(time: UnixTime) -> humantime::Rfc3339Timestamp {
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn described(error: Error, remote: Remote) -> String {
        describe(&io::Error::new(io::ErrorKind::InvalidData, error), remote)
    }

    #[test]
    fn failures_are_described_without_names_of_the_library() {
        let cases = [
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "the client does not trust the certificate presented to it",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "the client's certificate is not signed by a root in the trust bundle",
            ),
            (
                Error::InvalidCertificate(CertificateError::ExpiredContext {
                    time: UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000)),
                    not_after: UnixTime::since_unix_epoch(Duration::from_secs(86_400)),
                }),
                "the client's certificate or its chain expired at 1970-01-02T00:00:00Z",
            ),
            (Error::NoCertificatesPresented, "the client presented no certificate"),
            (
                Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "the client does not speak TLS",
            ),
            (Error::AlertReceived(AlertDescription::Unknown(200)), "the client sent TLS alert 200"),
        ];
        for (error, expected) in cases {
            assert_eq!(described(error, Remote::Client), expected);
        }
        let refused = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(described(refused, Remote::Server), "the server requires a client certificate");
    }

    #[test]
    fn every_alert_has_a_sentence_without_debug_output() {
        for code in 0..=u8::MAX {
            let alert = AlertDescription::from(code);
            let text = described(Error::AlertReceived(alert), Remote::Server);
            assert!(text.starts_with("the server "), "{code}: {text}");
            assert!(!text.contains(&format!("{alert:?}")), "{code}: {text}");
        }
    }

    #[test]
    fn certificate_of_a_ca_in_place_of_a_leaf_is_named_as_that() {
        let cause = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        let error = io::Error::other(Error::InvalidCertificate(CertificateError::Other(cause)));
        assert_eq!(classify(&error), HandshakeFailure::BadCertificate);
        assert_eq!(
            describe(&error, Remote::Client),
            "the client's certificate is the certificate of a CA, such as a self-signed one; a leaf is needed"
        );
    }
}
