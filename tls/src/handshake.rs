//! Why a handshake failed, on either side.

mod failure;

use std::io;
use std::time::Duration;

use humantime::format_duration;

pub(crate) use failure::Remote;
use failure::{classify, describe};

/// A handshake that did not succeed, with the cause in a sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other end was too slow.
    #[error("handshake failed: it was not complete within {}", format_duration(*.0))]
    TimedOut(Duration),
    /// It gave way to others; see [`Acceptor::accept_from`](crate::Acceptor::accept_from).
    #[error("handshake failed: it gave way to others, since too many were under way")]
    Evicted,
    /// It was not begun; see [`Acceptor::accept_from`](crate::Acceptor::accept_from).
    #[error("handshake failed: too many handshakes of this source have failed; it may try again in a moment")]
    Throttled,
    /// There is no identity yet.
    #[error("handshake failed: there is no identity yet")]
    NoIdentity,
    /// The identity cannot be used for this side of a connection.
    #[error(
        "handshake failed: the identity cannot be used for it: the leaf lacks the extended key usage, or there is no trust bundle"
    )]
    UnusableIdentity,
    /// The other end's certificate was verified, and its names cannot be read.
    #[error("handshake failed: the peer's certificate cannot be parsed")]
    UnreadablePeer,
    /// The client of a server.
    #[error("handshake failed: {}", describe(.0, Remote::Client))]
    WithClient(#[source] io::Error),
    /// The server of a client.
    #[error("handshake failed: {}", describe(.0, Remote::Server))]
    WithServer(#[source] io::Error),
}

/// The kind of a failed handshake, as metric labels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// It was not complete in time.
    Timeout,
    /// It gave way to others while too many were under way.
    Evicted,
    /// It was not begun, because too many of the same source had failed.
    Throttled,
    /// There is no identity, or it cannot be used for this side.
    NoIdentity,
    /// The connection ended before the handshake was complete.
    Closed,
    /// The client presented no certificate.
    NoCertificate,
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not signed by a trusted root.
    Untrusted,
    /// The server presents another name than is expected.
    WrongName,
    /// The peer's chain has more certificates, bytes, paths or wrong signatures than are verified.
    ChainTooCostly,
    /// The peer's certificate is not accepted for another reason.
    BadCertificate,
    /// The peer refused the certificate of this side, or wants one.
    RefusedByPeer,
    /// The peer sent another alert.
    Alert,
    /// No TLS version, cipher suite or signature scheme in common.
    Incompatible,
    /// The peer does not speak TLS, or not as the standard has it.
    Malformed,
}

impl HandshakeError {
    /// The kind of the failure.
    pub fn failure(&self) -> HandshakeFailure {
        match self {
            Self::TimedOut(_) => HandshakeFailure::Timeout,
            Self::Evicted => HandshakeFailure::Evicted,
            Self::Throttled => HandshakeFailure::Throttled,
            Self::NoIdentity | Self::UnusableIdentity => HandshakeFailure::NoIdentity,
            Self::UnreadablePeer => HandshakeFailure::Malformed,
            Self::WithClient(error) | Self::WithServer(error) => classify(error),
        }
    }

    /// The cause as a clause, without "handshake failed".
    pub fn cause(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("handshake failed: ").map(str::to_owned).unwrap_or(text)
    }
}

impl HandshakeFailure {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::Throttled => "throttled",
            Self::NoIdentity => "no_identity",
            Self::Closed => "closed",
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::Untrusted => "untrusted",
            Self::WrongName => "wrong_name",
            Self::ChainTooCostly => "chain_too_costly",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Malformed => "malformed",
        }
    }

    /// One side refused the other for its certificate or its TLS parameters, so that an operator will ask why.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::NoCertificate
                | Self::Expired
                | Self::Untrusted
                | Self::ChainTooCostly
                | Self::BadCertificate
                | Self::Incompatible
                | Self::RefusedByPeer
        )
    }
}
