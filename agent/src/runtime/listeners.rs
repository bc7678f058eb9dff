//! All listeners of the agent: bound together at start, served once there is an identity.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::config::settings::Settings;
use crate::connection::listener::{BindError, Bound};
use crate::connection::stop::Stop;
use crate::proxy::authorization::AllowList;
use crate::proxy::context::ProxyContext;
use crate::proxy::inbound::{Inbound, InboundRoute};
use crate::proxy::outbound::{HttpForwarder, OutboundRoute, Tunnel, Upstream};
use crate::runtime::self_check::SelfCheckTarget;

/// Every listener of the agent, bound but not listening yet.
pub struct Listeners {
    pub admin: Bound,
    pub proof: Bound,
    pub routes: RouteListeners,
}

/// The listeners that carry traffic of the app.
pub struct RouteListeners {
    inbound: Vec<(Bound, InboundRoute)>,
    outbound: Vec<(Bound, OutboundRoute)>,
    http_proxy: Option<Bound>,
}

impl Listeners {
    /// Binds all addresses, or returns every error.
    pub fn bind(settings: &Settings) -> Result<Self, Vec<BindError>> {
        let mut errors = Vec::new();
        let mut bind =
            |role, address: SocketAddr| Bound::bind(role, address).map_err(|error| errors.push(error)).ok();
        let admin = bind("admin", settings.admin);
        let proof = bind("proof", settings.proof);
        let inbound = settings
            .inbound
            .iter()
            .filter_map(|route| Some((bind("inbound", route.listen)?, route.clone())))
            .collect();
        let outbound = settings
            .outbound
            .iter()
            .filter_map(|route| Some((bind("outbound", route.listen)?, route.clone())))
            .collect();
        let http_proxy = settings.http_proxy.and_then(|listen| bind("http-proxy", listen));
        let routes = RouteListeners { inbound, outbound, http_proxy };
        match (admin, proof) {
            (Some(admin), Some(proof)) if errors.is_empty() => Ok(Self { admin, proof, routes }),
            _ => Err(errors),
        }
    }

    /// Where the self-check connects: as the app's clients do, if there are any.
    pub fn self_check_target(&self) -> SelfCheckTarget {
        match self.routes.inbound.first() {
            Some((bound, _)) => SelfCheckTarget::Inbound(bound.dial_address()),
            None => SelfCheckTarget::Proof(self.proof.dial_address()),
        }
    }
}

impl RouteListeners {
    /// Accepts inbound connections until `inbound_stop`, outbound ones until `outbound_stop`.
    pub fn serve(
        self,
        context: &Arc<ProxyContext>,
        allow: &AllowList,
        workers: &[Handle],
        inbound_stop: &Stop,
        outbound_stop: &Stop,
    ) -> Result<(), BindError> {
        for (bound, route) in self.inbound {
            let inbound = Inbound::new(Arc::clone(context), route, allow.clone());
            bound
                .listen()?
                .serve(workers, inbound_stop, move |socket, from| Arc::clone(&inbound).serve(socket, from));
        }
        for (bound, route) in self.outbound {
            if route.http {
                serve_http(bound, context, Some(route.upstream), workers, outbound_stop)?;
            } else {
                let tunnel = Arc::new(Tunnel { context: Arc::clone(context), upstream: route.upstream });
                bound.listen()?.serve(workers, outbound_stop, move |socket, from| {
                    Arc::clone(&tunnel).serve(socket, from)
                });
            }
        }
        match self.http_proxy {
            Some(bound) => serve_http(bound, context, None, workers, outbound_stop),
            None => Ok(()),
        }
    }
}

fn serve_http(
    bound: Bound,
    context: &Arc<ProxyContext>,
    upstream: Option<Upstream>,
    workers: &[Handle],
    stop: &Stop,
) -> Result<(), BindError> {
    let forwarder = Arc::new(HttpForwarder::new(Arc::clone(context), upstream));
    bound.listen()?.serve(workers, stop, move |socket, from| Arc::clone(&forwarder).serve(socket, from));
    Ok(())
}
