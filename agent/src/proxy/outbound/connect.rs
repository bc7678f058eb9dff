//! CONNECT through the forward proxy: libraries that know of proxies, gRPC's among them, open a tunnel to the host
//! and speak to it in there. HTTP in plain text is forwarded over mTLS, request by request, and so is any other
//! protocol, by bytes. TLS in the tunnel would be TLS in TLS, and is refused.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hotcert_log::Allowed;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::destination::Destinations;
use super::dial::{Purpose, dial};
use super::route::Upstream;
use crate::proxy::access_log::ConnectionRecord;
use crate::proxy::context::ProxyContext;
use crate::proxy::http::first_bytes::{FirstBytes, Rewound, read_first_bytes};
use crate::proxy::http::upgraded::{OnUpgrade, Upgraded};
use crate::proxy::relay::relay;

/// The app speaks first, within this.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(30);

/// A TLS record with a fatal alert: handshake_failure.
const HANDSHAKE_FAILURE: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];

/// The app's side of a tunnel, once it has said what it speaks.
pub type TunnelStream = Rewound<Upgraded>;

/// Serves a tunnel to `upstream` to its end. `serve_http` serves HTTP in it, HTTP/2 if it is told so.
pub async fn serve_tunnel<S, F>(
    context: Arc<ProxyContext>,
    app: OnUpgrade,
    upstream: Upstream,
    destinations: Destinations,
    record: ConnectionRecord,
    serve_http: S,
) where
    S: FnOnce(Upstream, TunnelStream, bool) -> F,
    F: Future<Output = ()>,
{
    // The app may have gone, or say nothing.
    let Some(app) = app.stream().await else { return };
    let first = timeout(FIRST_BYTES_WITHIN, read_first_bytes(app)).await;
    let Ok(Ok((begins, mut app))) = first else { return };
    match begins {
        FirstBytes::Tls => {
            refuse_tls(&context, &mut app, &upstream.authority(), Some(&upstream)).await;
        }
        FirstBytes::Http1 | FirstBytes::Http2 => {
            serve_http(upstream, app, begins == FirstBytes::Http2).await;
        }
        FirstBytes::Other => carry_bytes(&context, app, &upstream, &destinations, record).await,
    }
}

async fn carry_bytes<S: AsyncRead + AsyncWrite + Unpin>(
    context: &ProxyContext,
    app: S,
    upstream: &Upstream,
    destinations: &Destinations,
    mut record: ConnectionRecord,
) {
    let Some(snapshot) = context.identities.current() else { return };
    match dial(context, &snapshot, upstream, destinations, Purpose::Bytes(&[])).await {
        Ok(mut server) => {
            drop(snapshot);
            record.over(&server.connection);
            let mut app = record.counter()(app);
            if let Err(error) = relay(&mut app, &mut server.stream, &context.app_memory).await {
                record.broke_off();
                debug!(%upstream, %error, "tunnel ended early");
            }
        }
        Err(error) => {
            record.refused(error.kind());
            let subject = format!("{upstream} {}", error.kind());
            if let Some(Allowed { suppressed }) = context.log_limiter.allow(&subject) {
                warn!(suppressed, %upstream, %error, "tunnel closed");
            }
        }
    }
}

/// Answers a TLS ClientHello with an alert, and says in the log what to do.
pub async fn refuse_tls<S: AsyncWrite + Unpin>(
    context: &ProxyContext,
    app: &mut S,
    from: impl Display,
    upstream: Option<&Upstream>,
) {
    let upstream = upstream.map(ToString::to_string);
    if let Some(Allowed { suppressed }) = context.log_limiter.allow("tls in plain text") {
        warn!(
            suppressed, %from, upstream,
            "outbound connection refused: the app sends TLS where the agent expects plain text; the agent itself makes the mTLS connection: use http:// or a plain-text channel"
        );
    }
    let _ = app.write_all(&HANDSHAKE_FAILURE).await;
    let _ = app.shutdown().await;
}
