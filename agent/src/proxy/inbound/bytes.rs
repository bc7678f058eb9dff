//! Routes that carry bytes: from a client to the app and back, whatever they mean. With `#proxy-v2` the app is told first
//! who the client is.

use std::net::SocketAddr;
use std::sync::Arc;

use hotcert_log::Allowed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::app_connections::AppPermit;
use super::introduced::Introduced;
use super::{Inbound, proxy_protocol};
use crate::connection::buffered_stream::BufferedStream;
use crate::connection::memory::Share;
use crate::connection::tracker::Connection;
use crate::proxy::access_log::ConnectionRecord;
use crate::proxy::app_endpoint::AppStream;
use crate::proxy::relay::relay;
use hotcert_tls::{Peer, Snapshot};

/// One client of a route that carries bytes.
pub(super) struct Bytes<S> {
    pub stream: S,
    pub connection: Arc<Connection>,
    pub from: SocketAddr,
    pub share: Arc<Share>,
    /// What the app is sent first.
    pub introduction: Option<Box<[u8]>>,
}

impl Inbound {
    /// The header of PROXY protocol for a client, if the app is to get one.
    pub(super) fn introduction(
        &self,
        stream: &TlsStream<BufferedStream>,
        snapshot: &Snapshot,
        peer: Option<&Peer>,
        from: SocketAddr,
    ) -> Option<Box<[u8]>> {
        if !self.proxy_v2 {
            return None;
        }
        let (socket, connection) = stream.get_ref();
        // An IPv4 client of a listener on [::] came to an IPv4 address.
        let to = socket.local_addr().unwrap_or(self.listen);
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let tls = proxy_protocol::Tls::of(connection, &snapshot.identity.leaf);
        Some(proxy_protocol::Client { from, to, tls, peer: peer.map(Into::into) }.header())
    }

    pub(super) async fn relay<S>(self: Arc<Self>, client: Bytes<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Bytes { stream, connection, from, share, introduction } = client;
        let mut record = self.observed.connection(from);
        record.over(&connection);
        let mut stream = record.counter()(stream);
        let connected = self.connect_app(&connection, from, &mut record).await;
        let Some((_permit, mut app)) = connected else { return };
        let result = match introduction {
            None => relay(&mut stream, &mut app, &share).await.inspect_err(|_| app.abort()),
            // Boxed like all that is rare, so that it takes no room in each connection.
            Some(header) => Box::pin(self.relay_introduced(&mut stream, app, from, header, &share)).await,
        };
        if let Err(error) = result {
            record.broke_off();
            debug!(%from, %error, "inbound connection ended early");
        }
    }

    async fn relay_introduced<S>(
        &self,
        stream: &mut S,
        app: AppStream,
        from: SocketAddr,
        header: Box<[u8]>,
        share: &Arc<Share>,
    ) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut app = Introduced::begin(app, &header).await;
        drop(header);
        let result = match app.was_refused() {
            false => relay(stream, &mut app, share).await,
            true => Ok(()),
        };
        if app.was_refused()
            && let Some(Allowed { suppressed }) = self.context.log_limiter.allow("app refused PROXY protocol")
        {
            warn!(
                suppressed, %from, target = %self.target,
                "the app closed the connection at its start, without a byte: it gets a header of PROXY protocol version 2 first, which it has to be told to expect; if it does not, remove #proxy-v2 from the route"
            );
        }
        result.inspect_err(|_| app.abort())
    }

    /// A connection to the app for bytes. If there is none, the client is closed, with a reason in the log.
    async fn connect_app(
        &self,
        connection: &Connection,
        from: SocketAddr,
        record: &mut ConnectionRecord,
    ) -> Option<(AppPermit, AppStream)> {
        let within = self.context.timeouts.connect;
        let log_limiter = &self.context.log_limiter;
        let permit = match self.context.app_connections.acquire_for_bytes(connection.holder(), within).await {
            Ok(permit) => permit,
            Err(error) => {
                let (reason, of) = (error.as_str(), connection.peer_name());
                if let Some(Allowed { suppressed }) =
                    log_limiter.allow(&(reason, connection.holder().identity))
                {
                    warn!(suppressed, reason, %of, "connection closed: no connection to the app is free: {error}");
                }
                record.refused("app_busy");
                connection.turn_away();
                return None;
            }
        };
        match self.target.connect(within).await {
            Ok(app) => Some((permit, app)),
            Err(error) => {
                record.refused("unreachable");
                if let Some(Allowed { suppressed }) = log_limiter.allow("app") {
                    warn!(suppressed, %from, %error, "inbound connection closed");
                }
                None
            }
        }
    }
}
