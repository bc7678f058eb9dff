//! Outbound: from the app's plain loopback connection to a server over mTLS, by bytes or by HTTP requests.
//! The server must present the name that the route requires, or nothing is sent.

pub mod addresses;
mod connect;
mod destination;
mod dial;
mod http;
mod pool;
mod route;

use std::net::SocketAddr;
use std::sync::Arc;

use hotcert_log::Allowed;
use tokio::net::TcpStream;
use tracing::{debug, warn};

pub use destination::{DestinationPattern, Destinations, ProxyPolicy};
pub use http::HttpForwarder;
pub use route::{OutboundRoute, OutboundRouteError, Upstream};

use crate::proxy::access_log::ObservedRoute;
use crate::proxy::app_endpoint::reset;
use crate::proxy::context::ProxyContext;
use crate::proxy::relay::relay;
use dial::{Purpose, dial};

/// A fixed route, for any protocol: bytes both ways.
pub struct Tunnel {
    pub context: Arc<ProxyContext>,
    pub upstream: Upstream,
    /// What is offered to the server.
    pub alpn: Vec<String>,
    pub destinations: Destinations,
    pub observed: Arc<ObservedRoute>,
}

impl Tunnel {
    pub async fn serve(self: Arc<Self>, app: TcpStream, from: SocketAddr) {
        let context = &self.context;
        let mut record = self.observed.connection(from);
        let Some(snapshot) = context.identities.current() else {
            return record.refused("no_identity");
        };
        let purpose = Purpose::Bytes(&self.alpn);
        let dialed = Box::pin(dial(context, &snapshot, &self.upstream, &self.destinations, purpose)).await;
        drop(snapshot);
        match dialed {
            Ok(server) => {
                record.over(&server.connection);
                let (mut app, mut server) = (record.counter()(app), Box::new(server.stream));
                if let Err(error) = relay(&mut app, &mut server, &context.app_memory).await {
                    reset(app.into_inner());
                    record.broke_off();
                    debug!(upstream = %self.upstream, %error, "outbound connection ended early");
                }
            }
            Err(error) => {
                reset(app);
                record.refused(error.kind());
                if let Some(Allowed { suppressed }) =
                    context.log_limiter.allow(&format!("{} {}", self.upstream, error.kind()))
                {
                    warn!(suppressed, upstream = %self.upstream, %error, "outbound connection closed");
                }
            }
        }
    }
}
