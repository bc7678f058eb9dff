//! One connection to a pod's proof listener: a TLS handshake and `GET /proof`, both before the deadline. In
//! TLS 1.3 the client's handshake is complete before the server has verified its certificate, so whether the
//! client is accepted shows in what follows: a response, or the alert that its certificate is not trusted.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::duration;
use crate::digest::sha256_hex;
use crate::pki::x509_facts;
use crate::proof::client_certificate::Client;
use crate::proof::client_config;

/// For everything that one proof takes.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Many times the length of an agent's response.
const MAX_BODY: usize = 64 * 1024;
/// The smallest buffer that hyper allows.
const MAX_HEAD: usize = 8 * 1024;

/// The result of one connection.
#[derive(Debug)]
pub struct Probe {
    /// Hex, of the DER of the leaf that the pod showed, and whose key it proved to have.
    pub leaf_sha256: String,
    /// When the leaf begins to be valid, if it can be read.
    pub leaf_not_before: Option<SystemTime>,
    /// Why the leaf is not one that the keyring verifies, if it is not.
    pub foreign: Option<String>,
    /// `None` if the client was not accepted.
    pub report: Option<ProofReport>,
}

/// The response to `GET /proof`, as far as it is used.
#[derive(Debug)]
pub struct ProofReport {
    pub leaf_sha256: String,
    pub connections_under: BTreeMap<String, u64>,
}

/// Why a connection proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("it did not answer within {timeout}: is port {port} open to the control plane (NetworkPolicy)?", timeout = duration::format(TIMEOUT))]
    NoConnection { port: u16 },
    #[error("it refuses connections: is its agent running, with the proof listener on port {port}?")]
    Refused { port: u16 },
    #[error("it cannot be reached at {address}: {source}")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error("it took the connection to port {port} and did not finish the TLS handshake within {timeout}", timeout = duration::format(TIMEOUT))]
    NoHandshake { port: u16 },
    #[error("it does not speak TLS on port {port}: is that the agent's proof listener?")]
    NoTls { port: u16 },
    #[error("it closed the connection in the TLS handshake: has its agent an identity, and is it the agent?")]
    HungUp,
    #[error("it broke off the TLS handshake with the alert {}: is it an agent of this version?", alert_name(*.0))]
    BrokeOff(AlertDescription),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("it shows a certificate that this authority did not sign: {0}")]
    Foreign(CertificateError),
    #[error("it shows a certificate that no client accepts: {0}")]
    Invalid(CertificateError),
    #[error("it finds our client certificate expired or not valid yet: compare its clock with ours")]
    Clock,
    #[error("it answered our client certificate with the alert {}, which says nothing about trust", alert_name(*.0))]
    Alert(AlertDescription),
    #[error("it shook hands and did not answer /proof within {timeout}", timeout = duration::format(TIMEOUT))]
    NoAnswer,
    #[error("it shook hands and closed the connection without an answer to /proof: {0}")]
    Closed(hyper::Error),
    #[error("it answered /proof with status {0}: is it an agent of this version?")]
    Status(StatusCode),
    #[error("its answer to /proof is longer than {MAX_BODY} bytes: is it an agent?")]
    TooLong,
    #[error("its answer to /proof cannot be read: {0}")]
    Unreadable(String),
    #[error("its agent does not count connections by root: update it")]
    NoCounts,
}

#[derive(Deserialize)]
struct ProofResponse {
    leaf_sha256: String,
    connections_under: Option<BTreeMap<String, u64>>,
}

/// A server that the keyring does not verify is probed once more, to see what it has.
pub async fn probe(address: SocketAddr, client: Client, deadline: Instant) -> Result<Probe, ProbeError> {
    let (leaf, stream, foreign) = match connect(address, &client.connector(), deadline).await {
        Ok((leaf, stream)) => (leaf, stream, None),
        Err(error @ ProbeError::Foreign(_)) => {
            let (leaf, stream) = connect(address, &client.lenient_connector(), deadline).await?;
            (leaf, stream, Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    let report = timeout_at(deadline, fetch_report(stream)).await.map_err(|_| ProbeError::NoAnswer)??;
    let (leaf_sha256, leaf_not_before) = (leaf.sha256, leaf.not_before);
    Ok(Probe { leaf_sha256, leaf_not_before, foreign, report })
}

/// The leaf that a client without a certificate is shown.
pub async fn read_leaf(address: SocketAddr, deadline: Instant) -> Result<String, ProbeError> {
    let config =
        client_config::anonymous().map_err(|error| ProbeError::Handshake(io::Error::other(error)))?;
    let (leaf, _) = connect(address, &TlsConnector::from(config), deadline).await?;
    Ok(leaf.sha256)
}

/// The leaf that a server showed.
struct ShownLeaf {
    sha256: String,
    not_before: Option<SystemTime>,
}

async fn connect(
    address: SocketAddr,
    connector: &TlsConnector,
    deadline: Instant,
) -> Result<(ShownLeaf, TlsStream<TcpStream>), ProbeError> {
    let port = address.port();
    let socket = timeout_at(deadline, TcpStream::connect(address))
        .await
        .map_err(|_| ProbeError::NoConnection { port })?
        .map_err(|error| ProbeError::on_connect(address, error))?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = timeout_at(deadline, connector.connect(name, socket))
        .await
        .map_err(|_| ProbeError::NoHandshake { port })?
        .map_err(|error| ProbeError::on_handshake(port, error))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let leaf = ShownLeaf {
        sha256: leaf.map(|leaf| sha256_hex(leaf)).unwrap_or_default(),
        not_before: leaf.and_then(|leaf| x509_facts::not_before(leaf)),
    };
    Ok((leaf, stream))
}

/// `None` if the client certificate is not trusted.
async fn fetch_report(stream: TlsStream<TcpStream>) -> Result<Option<ProofReport>, ProbeError> {
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = match http.handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return no_response(error),
    };
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static("/proof");
    request.headers_mut().insert(HOST, HeaderValue::from_static("proof"));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, Limited::new(response.into_body(), MAX_BODY).collect().await))
    };
    let (ended, response) = join(connection, exchange).await;
    match (response, ended) {
        (Ok((StatusCode::OK, body)), _) => {
            let body = body.map_err(ProbeError::on_body)?.to_bytes();
            Ok(Some(ProofReport::parse(&body)?))
        }
        (Ok((status, _)), _) => Err(ProbeError::Status(status)),
        // The alert may have been read by either side of hyper.
        (Err(_), Err(error)) if alert(&error).is_some() => no_response(error),
        (Err(error), _) => no_response(error),
    }
}

/// What it means that there was no response.
fn no_response(error: hyper::Error) -> Result<Option<ProofReport>, ProbeError> {
    match alert(&error) {
        // The alerts of rustls for an unknown issuer, and for one that has the name of a known root but not
        // its key. Its other alerts are not about trust, but about the clock, for example.
        Some(AlertDescription::UnknownCA | AlertDescription::DecryptError) => Ok(None),
        Some(AlertDescription::CertificateExpired) => Err(ProbeError::Clock),
        Some(other) => Err(ProbeError::Alert(other)),
        None => Err(ProbeError::Closed(error)),
    }
}

/// The alert that ended the connection, if one did.
fn alert(error: &hyper::Error) -> Option<AlertDescription> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) {
            return Some(*alert);
        }
        cause = error.source();
    }
    None
}

/// An I/O error does not report the error that it wraps as its source.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

impl ProofReport {
    fn parse(body: &[u8]) -> Result<Self, ProbeError> {
        let response =
            serde_json::from_slice(body).map_err(|error| ProbeError::Unreadable(error.to_string()))?;
        let ProofResponse { leaf_sha256, connections_under } = response;
        Ok(Self { leaf_sha256, connections_under: connections_under.ok_or(ProbeError::NoCounts)? })
    }
}

impl ProbeError {
    fn on_connect(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { port: address.port() },
            _ => Self::Unreachable { address, source },
        }
    }

    fn on_handshake(port: u16, error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match tls_error(&error) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NoTls { port },
            Some(rustls::Error::InvalidCertificate(
                cause @ (CertificateError::UnknownIssuer | CertificateError::BadSignature),
            )) => Self::Foreign(cause.clone()),
            Some(rustls::Error::InvalidCertificate(cause)) => Self::Invalid(cause.clone()),
            Some(rustls::Error::AlertReceived(alert)) => Self::BrokeOff(*alert),
            Some(_) => Self::Handshake(error),
            None => match error.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::HungUp,
                _ => Self::Handshake(error),
            },
        }
    }

    fn on_body(error: Box<dyn Error + Send + Sync>) -> Self {
        if error.is::<LengthLimitError>() { Self::TooLong } else { Self::Unreadable(error.to_string()) }
    }
}

/// As rustls names it, or its number.
fn alert_name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| u8::from(alert).to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_response_ignores_unknown_fields_and_requires_connection_counts() {
        let report =
            ProofReport::parse(br#"{"leaf_sha256": "ab", "more": 1, "connections_under": {"cd": 3}}"#)
                .unwrap();
        assert_eq!((report.leaf_sha256.as_str(), report.connections_under["cd"]), ("ab", 3));
        assert!(matches!(ProofReport::parse(br#"{"leaf_sha256": "ab"}"#), Err(ProbeError::NoCounts)));
        for invalid in [
            "",
            "[]",
            "null",
            r#"{"leaf_sha256": null}"#,
            r#"{"leaf_sha256": "", "connections_under": {"a": -1}}"#,
        ] {
            assert!(
                matches!(ProofReport::parse(invalid.as_bytes()), Err(ProbeError::Unreadable(_))),
                "{invalid}"
            );
        }
    }

    #[test]
    fn handshake_errors_name_what_to_check() {
        let message = |error: rustls::Error| {
            ProbeError::on_handshake(9643, io::Error::new(io::ErrorKind::InvalidData, error)).to_string()
        };
        let certificate = |error| message(rustls::Error::InvalidCertificate(error));
        assert!(certificate(CertificateError::UnknownIssuer).contains("did not sign"));
        assert!(certificate(CertificateError::BadSignature).contains("did not sign"));
        assert!(certificate(CertificateError::Expired).contains("no client accepts"));
        let garbage = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert!(message(garbage).contains("does not speak TLS on port 9643"));
        assert!(
            message(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))
                .contains("ProtocolVersion")
        );
        let ended = ProbeError::on_handshake(9643, io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(ended, ProbeError::HungUp), "{ended}");
    }
}
