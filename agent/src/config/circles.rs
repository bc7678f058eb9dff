//! Routes that lead back into the agent itself: one request or connection would go round until nothing is left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::proxy::app_endpoint::Target;
use crate::proxy::inbound::InboundRoute;
use crate::proxy::outbound::OutboundRoute;
use crate::proxy::own_listeners::{INBOUND, OwnListeners};

/// What is wrong with each route that does, after its flag. A host name is known only when it is dialled.
pub fn find(
    inbound: &[InboundRoute],
    outbound: &[OutboundRoute],
    own: &OwnListeners,
) -> Vec<(&'static str, String)> {
    let inbound = inbound.iter().filter_map(|route| Some((INBOUND, of_inbound(route, own)?)));
    let outbound = outbound.iter().filter_map(|route| Some(("--outbound", of_outbound(route, own)?)));
    inbound.chain(outbound).collect()
}

fn of_inbound(route: &InboundRoute, own: &OwnListeners) -> Option<String> {
    let Target::Tcp(app) = route.target else { return None };
    let flag = own.reached_at(app)?;
    Some(format!(
        "{route}: {app} is this agent's own listener of {flag}, so that what comes in would go round in a circle; give the address of the app"
    ))
}

fn of_outbound(route: &OutboundRoute, own: &OwnListeners) -> Option<String> {
    let host = route.upstream.host.as_str();
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Err(_) => Vec::new(),
    };
    let reached = |ip: &IpAddr| own.looped_at(SocketAddr::new(*ip, route.upstream.port));
    let flag = addresses.iter().find_map(reached)?;
    Some(format!(
        "{route}: {} is this agent's own listener of {flag}, so that what goes out would go round in a circle; give the address of a server",
        route.upstream.authority()
    ))
}
