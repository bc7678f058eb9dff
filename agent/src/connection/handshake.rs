//! The inbound handshake: from an accepted socket to a verified peer, under one snapshot, within
//! one deadline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use rustls::{AlertDescription, CertificateError, CommonState, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::buffered_stream::ReadAhead;
use crate::tls::config::{Configs, SELF_CHECK_ALPN, with_self_check};
use crate::tls::peer::{Peer, Peers};
use crate::tls::snapshot::{Current, Snapshot};

/// How long a refused client is listened to, so that it hears why.
const FAREWELL: Duration = Duration::from_millis(500);
const MAX_UNREAD: u64 = 64 * 1024;

/// Handshakes by side and result.
#[derive(Clone, Default)]
pub struct Handshakes(pub Family<HandshakeLabels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandshakeLabels {
    pub side: &'static str,
    pub result: &'static str,
}

impl Handshakes {
    pub fn count(&self, side: &'static str, result: &'static str) {
        self.0.get_or_create(&HandshakeLabels { side, result }).inc();
    }
}

/// A client that was let in by its certificate (or needs none).
pub struct Accepted {
    pub stream: TlsStream<ReadAhead>,
    pub snapshot: Arc<Snapshot>,
    /// `None` when client certificates are not asked for.
    pub peer: Option<Arc<Peer>>,
    /// It is the agent itself, looking at what it serves.
    pub self_check: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the handshake took longer than {0:?}")]
    TimedOut(Duration),
    #[error("there is no identity to serve with")]
    NoIdentity,
    #[error("the peer's certificate cannot be parsed")]
    UnreadablePeer,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// Picks a listener's configuration out of a snapshot's.
pub type SelectConfig = fn(&Configs) -> Option<&Arc<ServerConfig>>;

pub async fn accept(
    socket: TcpStream,
    current: &Current,
    choose: SelectConfig,
    peers: &Peers,
    deadline: Duration,
) -> Result<Accepted, HandshakeError> {
    // Boxed: it is large, and a connection that lives on should not carry its size.
    let handshake = Box::pin(shake_hands(socket, current, choose));
    let (stream, snapshot, self_check) = match tokio::time::timeout(deadline, handshake).await {
        Ok(result) => result?,
        Err(_) => return Err(HandshakeError::TimedOut(deadline)),
    };
    let peer = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Some(peers.intern(chain).ok_or(HandshakeError::UnreadablePeer)?),
        None => None,
    };
    Ok(Accepted { stream, snapshot, peer, self_check })
}

async fn shake_hands(
    socket: TcpStream,
    current: &Current,
    choose: SelectConfig,
) -> Result<(TlsStream<ReadAhead>, Arc<Snapshot>, bool), HandshakeError> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), ReadAhead::new(socket)).await?;
    // Loaded as late as can be: a client that says hello after a swap gets the new leaf, however
    // early it connected.
    let snapshot = current.load().ok_or(HandshakeError::NoIdentity)?;
    let config = choose(&snapshot.configs).ok_or(HandshakeError::NoIdentity)?;
    let self_check =
        hello.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == SELF_CHECK_ALPN));
    let config = if self_check { with_self_check(config) } else { Arc::clone(config) };
    match hello.into_stream(config).into_fallible().await {
        Ok(stream) => Ok((stream, snapshot, self_check)),
        Err((error, socket)) => {
            let _ = tokio::time::timeout(FAREWELL, let_alert_arrive(socket)).await;
            Err(error.into())
        }
    }
}

/// A socket closed with unread bytes resets the connection, and the alert that says what is wrong is
/// lost on its way: a client that has sent its request already would see no reason.
async fn let_alert_arrive(mut socket: ReadAhead) -> io::Result<()> {
    socket.shutdown().await?;
    let mut unread = socket.take(MAX_UNREAD);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.map(drop)
}

impl HandshakeError {
    /// The client is a TLS client that was judged and not let in: somebody will ask why.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.result(),
            "no_certificate"
                | "expired"
                | "untrusted"
                | "bad_certificate"
                | "incompatible"
                | "refused_by_peer"
        )
    }

    /// The label it is counted under.
    pub fn result(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::NoIdentity => "no_identity",
            Self::UnreadablePeer => "malformed",
            Self::Failed(error) => classify(error),
        }
    }
}

/// What went wrong in a handshake, in words fit for a metric label.
pub fn classify(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return "closed";
    };
    match error {
        rustls::Error::NoCertificatesPresented => "no_certificate",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "expired",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "untrusted",
        rustls::Error::InvalidCertificate(CertificateError::Other(_)) => "wrong_name",
        rustls::Error::InvalidCertificate(_) => "bad_certificate",
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked,
        ) => "refused_by_peer",
        rustls::Error::AlertReceived(_) => "alert",
        rustls::Error::PeerIncompatible(_) => "incompatible",
        _ => "malformed",
    }
}

/// The same in words for a person, about a server that was dialled.
pub fn explain_server(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(cause))) => cause.0.to_string(),
        Some(rustls::Error::InvalidCertificate(cause)) => format!("it cannot be trusted: {cause}"),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS".into(),
        Some(rustls::Error::AlertReceived(alert)) => format!("it refused this pod: {alert:?}"),
        _ => format!("the handshake failed: {error}"),
    }
}

/// The chain a server showed, leaf first.
pub fn chain_of(connection: &CommonState) -> &[CertificateDer<'static>] {
    connection.peer_certificates().unwrap_or_default()
}
