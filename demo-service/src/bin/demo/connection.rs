//! One connection of the load, HTTP/1.1 or HTTP/2, and one request on it at a time.
//!
//! It distinguishes how a request fails: before the first byte of a response, or after it.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, ServiceAddress};
use crate::leaf_tracker::Fingerprint;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The protocol that a connection offers (ALPN).
#[derive(Clone, Copy)]
pub enum Protocol {
    Http1,
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

pub struct Connection {
    sender: Sender,
    received: Arc<AtomicU64>,
    host: String,
    used: bool,
    /// The leaf that the server showed.
    pub leaf: Fingerprint,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A reused connection ended before the first byte of the response: the server may have closed it as idle.
    #[error("closed while the request was being sent: {}", with_causes(.0))]
    ClosedIdle(hyper::Error),
    #[error("connection cut: {}", with_causes(.0))]
    Cut(#[from] hyper::Error),
    #[error("response {status}: {body}")]
    Status { status: StatusCode, body: String },
    #[error("unexpected response: {0}")]
    Content(String),
    #[error("no response within {}", humantime::format_duration(RESPONSE_TIMEOUT))]
    Timeout,
}

/// The error with its sources: hyper's own message does not include them.
fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Connection {
    pub async fn open(
        client: &Client,
        service_address: &ServiceAddress,
        protocol: Protocol,
    ) -> io::Result<Self> {
        let offered: &[&[u8]] = match protocol {
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2", b"http/1.1"],
        };
        let handshake = client.dial(service_address, offered).await?;
        let negotiated_h2 = handshake.stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let received = Arc::new(AtomicU64::new(0));
        let stream = TokioIo::new(Counted { stream: handshake.stream, received: received.clone() });
        let sender = if negotiated_h2 {
            let (sender, driver) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
            // Its error reaches the requests on it as well.
            tokio::spawn(async move { drop(driver.await) });
            Sender::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(stream).await.map_err(io::Error::other)?;
            tokio::spawn(async move { drop(driver.await) });
            Sender::Http1(sender)
        };
        let host = service_address.name.clone();
        Ok(Self { sender, received, host, used: false, leaf: handshake.leaf })
    }

    /// Whether another request may be sent: the server has not asked to close.
    pub async fn is_open(&mut self) -> bool {
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await,
                Sender::Http2(sender) => sender.ready().await,
            }
        };
        matches!(timeout(RESPONSE_TIMEOUT, ready).await, Ok(Ok(())))
    }

    /// `GET /`; the response must be complete and come from storefront and, through it, from payments.
    pub async fn get(&mut self) -> Result<(), RequestError> {
        timeout(RESPONSE_TIMEOUT, self.exchange()).await.unwrap_or(Err(RequestError::Timeout))
    }

    async fn exchange(&mut self) -> Result<(), RequestError> {
        let received = self.received.load(Relaxed);
        let reused = std::mem::replace(&mut self.used, true);
        let response = self.send().await.map_err(|error| {
            // HTTP/2 control frames arrive at any time; without a head there was no response.
            let silent = self.received.load(Relaxed) == received || matches!(self.sender, Sender::Http2(_));
            if reused && silent { RequestError::ClosedIdle(error) } else { RequestError::Cut(error) }
        })?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = || String::from_utf8_lossy(&body).trim_end().to_owned();
        if status != StatusCode::OK {
            return Err(RequestError::Status { status, body: text() });
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if answer["service"] != "storefront" || answer["upstream"]["service"] != "payments" {
            return Err(RequestError::Content(text()));
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<Response<Incoming>, hyper::Error> {
        let mut request = Request::new(Empty::new());
        match &mut self.sender {
            Sender::Http1(sender) => {
                if let Ok(host) = self.host.parse() {
                    request.headers_mut().insert(hyper::header::HOST, host);
                }
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                if let Ok(url) = format!("https://{}/", self.host).parse() {
                    *request.uri_mut() = url;
                }
                sender.send_request(request).await
            }
        }
    }
}

/// Counts the bytes that came from the server inside TLS.
struct Counted {
    stream: TlsStream<TcpStream>,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.received.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
