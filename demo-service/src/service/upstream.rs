//! Calls to the upstream over pooled keep-alive connections, directly or through an HTTP forward proxy.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tower_service::Service;

/// For the whole response.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Upstream {
    url: Uri,
    client: Client<Connector, Empty<Bytes>>,
}

/// Why there is no response of the upstream.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("cannot reach upstream {url}: {reason}")]
    Unreachable { url: Uri, reason: String },
    #[error("upstream {url} answered {status}: {body}")]
    Refused { url: Uri, status: StatusCode, body: String },
    #[error("upstream {url} ended its response early: {source}")]
    Broken { url: Uri, source: hyper::Error },
    #[error("upstream {url} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { url: Uri },
}

impl Upstream {
    pub(super) fn new(url: Uri, proxy: Option<Uri>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(Connector { tcp, proxy });
        Self { url, client }
    }

    /// The body of the upstream's response: its JSON, or its text as a string.
    pub(super) async fn call(&self) -> Result<Value, UpstreamError> {
        let url = || self.url.clone();
        tokio::time::timeout(TIMEOUT, self.exchange())
            .await
            .unwrap_or_else(|_| Err(UpstreamError::Timeout { url: url() }))
    }

    async fn exchange(&self) -> Result<Value, UpstreamError> {
        let url = || self.url.clone();
        let response = self
            .client
            .get(url())
            .await
            .map_err(|error| UpstreamError::Unreachable { url: url(), reason: with_causes(&error) })?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|source| UpstreamError::Broken { url: url(), source })?
            .to_bytes();
        let text = || String::from_utf8_lossy(&body).trim_end().to_owned();
        if status != StatusCode::OK {
            return Err(UpstreamError::Refused { url: url(), status, body: text() });
        }
        Ok(serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(text())))
    }
}

/// The error with its sources: the client's own messages do not include them.
fn with_causes(error: &ClientError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

/// Connects to the proxy, or to the URL's host if there is none.
#[derive(Clone)]
struct Connector {
    tcp: HttpConnector,
    proxy: Option<Uri>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let proxied = self.proxy.is_some();
        let dial = self.tcp.call(self.proxy.clone().unwrap_or(url));
        Box::pin(async move { Ok(Stream { tcp: dial.await?, proxied }) })
    }
}

/// A connection that reports whether its peer is a proxy: requests to a proxy contain the whole URL.
struct Stream {
    tcp: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
