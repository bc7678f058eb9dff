//! All listeners of the agent: bound together at start, served once there is an identity.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::config::settings::Settings;
use crate::connection::listener::{BindError, Bound};
use crate::connection::tracker::Side;
use crate::proxy::authorization::AllowLists;
use crate::proxy::context::ProxyContext;
use crate::proxy::inbound::{Inbound, InboundRoute};
use crate::proxy::outbound::{Destinations, HttpForwarder, OutboundRoute, ProxyPolicy, Tunnel, Upstream};
use crate::proxy::own_listeners::{INBOUND, OwnListeners};
use crate::proxy::route_protocol::RouteProtocol;
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
    http_proxy: Option<(Bound, ProxyPolicy)>,
    own: Arc<OwnListeners>,
}

impl Listeners {
    /// Binds all addresses, or returns every error.
    pub fn bind(settings: &Settings) -> Result<Self, Vec<BindError>> {
        let mut errors = Vec::new();
        let mut bind =
            |role, address: SocketAddr| Bound::bind(role, address).map_err(|error| errors.push(error)).ok();
        let admin = bind("admin", settings.admin);
        let proof = bind("proof", settings.proof);
        let inbound: Vec<_> = settings
            .inbound
            .iter()
            .filter_map(|route| Some((bind("inbound", route.listen)?, route.clone())))
            .collect();
        let outbound: Vec<_> = settings
            .outbound
            .iter()
            .filter_map(|route| Some((bind("outbound", route.listen)?, route.clone())))
            .collect();
        let http_proxy = settings
            .http_proxy
            .and_then(|listen| Some((bind("http-proxy", listen)?, settings.proxy_policy.clone())));
        match (admin, proof) {
            (Some(admin), Some(proof)) if errors.is_empty() => {
                let own = Arc::new(own(&admin, &proof, &inbound, &outbound, http_proxy.as_ref()));
                Ok(Self { admin, proof, routes: RouteListeners { inbound, outbound, http_proxy, own } })
            }
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

fn own(
    admin: &Bound,
    proof: &Bound,
    inbound: &[(Bound, InboundRoute)],
    outbound: &[(Bound, OutboundRoute)],
    http_proxy: Option<&(Bound, ProxyPolicy)>,
) -> OwnListeners {
    let inbound = inbound.iter().map(|(bound, _)| (INBOUND, bound.address));
    let outbound = outbound.iter().map(|(bound, _)| ("--outbound", bound.address));
    let http_proxy = http_proxy.map(|(bound, _)| ("--http-proxy", bound.address));
    let always = [("--admin", admin.address), ("--proof", proof.address)];
    OwnListeners::new(inbound.chain(outbound).chain(http_proxy).chain(always))
}

impl RouteListeners {
    /// Accepts connections of each side until its tasks are told to stop.
    pub fn serve(
        self,
        context: &Arc<ProxyContext>,
        allow: &AllowLists,
        workers: &[Handle],
    ) -> Result<(), BindError> {
        for (bound, mut route) in self.inbound {
            let allow = allow.of(route.listen).clone();
            // By which it is known, if the system chose the port.
            route.listen = bound.address;
            let inbound = Inbound::new(Arc::clone(context), route, allow);
            bound.listen()?.serve(workers, &context.inbound_tasks, move |socket, from| {
                Arc::clone(&inbound).serve(socket, from)
            });
        }
        for (bound, route) in self.outbound {
            let (context, upstream) = (Arc::clone(context), route.upstream);
            let destinations = Destinations::of_fixed_route(Arc::clone(&self.own));
            let RouteProtocol::Tcp { alpn } = route.protocol else {
                serve_http(bound, &context, Some(upstream), destinations, workers)?;
                continue;
            };
            let tasks = context.outbound_tasks.clone();
            let observed =
                context.observe(Side::Outbound, bound.address.to_string(), Some(upstream.authority()));
            let tunnel = Arc::new(Tunnel { context, upstream, alpn, destinations, observed });
            bound
                .listen()?
                .serve(workers, &tasks, move |socket, from| Arc::clone(&tunnel).serve(socket, from));
        }
        match self.http_proxy {
            Some((bound, policy)) => {
                serve_http(bound, context, None, Destinations::of_proxy(self.own, policy), workers)
            }
            None => Ok(()),
        }
    }
}

fn serve_http(
    bound: Bound,
    context: &Arc<ProxyContext>,
    upstream: Option<Upstream>,
    destinations: Destinations,
    workers: &[Handle],
) -> Result<(), BindError> {
    let forwarder = HttpForwarder::new(Arc::clone(context), bound.address, upstream, destinations);
    bound
        .listen()?
        .serve(workers, &context.outbound_tasks, move |socket, from| forwarder.clone().serve(socket, from));
    Ok(())
}
