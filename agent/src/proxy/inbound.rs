//! Inbound: from a client's TLS to the app, by bytes or by HTTP requests.

mod app_pool;
mod http;
pub mod identity_header;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tracing::{debug, warn};

use app_pool::AppPools;

use crate::connection::buffered_stream::Metered;
use crate::connection::handshake::{self, Accepted, SelectConfig};
use crate::connection::tracker::{Protocol, Side};
use crate::proxy::app_endpoint::Target;
use crate::proxy::authorization::AllowList;
use crate::proxy::context::ProxyContext;
use crate::proxy::relay::relay;

/// `[http:]LISTEN=TARGET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundRoute {
    pub http: bool,
    pub listen: SocketAddr,
    pub target: Target,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{route:?}: {cause}; write [http:]ADDRESS:PORT=ADDRESS:PORT or [http:]ADDRESS:PORT=unix:/PATH")]
pub struct InboundRouteError {
    route: String,
    cause: String,
}

impl FromStr for InboundRoute {
    type Err = InboundRouteError;

    fn from_str(text: &str) -> Result<Self, InboundRouteError> {
        let refuse = |cause: String| InboundRouteError { route: text.into(), cause };
        let (http, rest) = text.strip_prefix("http:").map_or((false, text), |rest| (true, rest));
        let (listen, target) = rest.split_once('=').ok_or_else(|| refuse("there is no `=`".into()))?;
        let listen = listen
            .parse()
            .map_err(|_| refuse(format!("{listen:?} is no ADDRESS:PORT (an IP address, not a host name)")))?;
        let target = target
            .parse()
            .map_err(|error: crate::proxy::app_endpoint::TargetError| refuse(error.to_string()))?;
        Ok(Self { http, listen, target })
    }
}

impl fmt::Display for InboundRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.http { "http:" } else { "" };
        write!(f, "{mode}{}={}", self.listen, self.target)
    }
}

/// One inbound listener's path to the app.
pub struct Inbound {
    context: Arc<ProxyContext>,
    target: Target,
    http: bool,
    allow: AllowList,
    apps: Arc<AppPools>,
}

impl Inbound {
    /// Must be called on a runtime, which tidies up behind HTTP connections.
    pub fn new(context: Arc<ProxyContext>, route: InboundRoute, allow: AllowList) -> Arc<Self> {
        let InboundRoute { http, target, .. } = route;
        let apps = AppPools::new(target.clone(), context.timeouts.connect, context.tracker.max_connections());
        if http {
            tokio::spawn(Arc::clone(&apps).reap_idle());
        }
        Arc::new(Self { context, target, http, allow, apps })
    }

    pub async fn connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let context = &self.context;
        if context.tracker.is_full() {
            context.tracker.refuse();
            return;
        }
        let choose: SelectConfig = match self.http {
            true => |configs| configs.inbound_http.as_ref(),
            false => |configs| configs.inbound.as_ref(),
        };
        let handshake =
            handshake::accept(socket, &context.current, choose, &context.peers, context.timeouts.handshake);
        let Some(accepted) = context.shaking_hands.hold(handshake).await else {
            context.handshakes.count("inbound", "crowded_out");
            return;
        };
        match accepted {
            Ok(accepted) if accepted.self_check => context.handshakes.count("inbound", "self_check"),
            Ok(accepted) => {
                context.handshakes.count("inbound", "ok");
                if let Some(serving) = self.serve(accepted, from) {
                    serving.await;
                }
            }
            Err(error) => {
                context.handshakes.count("inbound", error.result());
                match error.is_refusal().then(|| context.log_limiter.allow(error.result())).flatten() {
                    Some(left_out) => warn!(left_out, %from, %error, "client refused"),
                    None => debug!(%from, %error, "inbound handshake failed"),
                }
            }
        }
    }

    /// What is left to do for a client. In boxes, so that an idle connection holds the state of
    /// what it does and not room for all that it might.
    fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        from: SocketAddr,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let Accepted { stream, snapshot, peer, .. } = accepted;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let kind = match (self.http, h2) {
            (false, _) => Protocol::Tcp,
            (true, false) => Protocol::Http1,
            (true, true) => Protocol::Http2,
        };
        let admitted = match &peer {
            Some(peer) => self.allow.admits(&peer.names),
            None => self.allow.0.is_empty(),
        };
        if !admitted {
            self.complain(from, peer.as_deref());
        }
        let connection = Arc::new(self.context.tracker.open(Side::Inbound, kind, &snapshot, peer.clone())?);
        let stream =
            Box::new(Metered::new(stream, Arc::clone(&connection), self.context.inbound_bytes.clone()));
        if self.http {
            let header =
                peer.as_deref().and_then(|peer| identity_header::value(&snapshot.identity.leaf, peer));
            Some(http::serve(self, stream, connection, kind, header, admitted))
        } else if admitted {
            Some(Box::pin(self.relay(stream, from)))
        } else {
            None
        }
    }

    async fn relay<S>(self: Arc<Self>, mut stream: S, from: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.target.connect(self.context.timeouts.connect).await {
            Ok(mut app) => {
                if let Err(error) = relay(&mut stream, &mut app).await {
                    app.abort();
                    debug!(%from, %error, "inbound connection ended early");
                }
            }
            Err(error) => {
                if let Some(left_out) = self.context.log_limiter.allow("app") {
                    warn!(left_out, %from, %error, "inbound connection closed");
                }
            }
        }
    }

    fn complain(&self, from: SocketAddr, peer: Option<&crate::tls::peer::Peer>) {
        self.context.handshakes.count("inbound", "not_allowed");
        let who = peer.map_or("", |peer| &peer.sha256);
        if let Some(left_out) = self.context.log_limiter.allow(who) {
            let names = peer.map_or_else(|| "no certificate".into(), |peer| peer.names.to_string());
            warn!(left_out, %from, names, "a verified peer is not on the allow list");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn routes_are_read_and_shown_alike() {
        for text in ["0.0.0.0:8443=127.0.0.1:8080", "http:[::]:8443=unix:/run/app.sock"] {
            assert_eq!(text.parse::<InboundRoute>().unwrap().to_string(), text);
        }
        for bad in [
            "8443=127.0.0.1:80",
            "0.0.0.0:8443",
            "0.0.0.0:8443=app",
            "https:0.0.0.0:1=127.0.0.1:1",
            "0.0.0.0:1=unix:app",
        ] {
            assert!(matches!(bad.parse::<InboundRoute>(), Err(InboundRouteError { .. })), "{bad}");
        }
    }
}
