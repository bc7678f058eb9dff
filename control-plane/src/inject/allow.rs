//! The annotation `allow`: names that clients must carry one of, for every inbound route or for one of them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use hotcert_tls::{SanPattern, SanPatternError};

use super::address;
use super::annotations::Annotations;
use super::route::InboundRoute;

const NAME: &str = "allow";

/// `[PORT=]NAME[+NAME…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowItem {
    /// The route's; `None` for every route without a list of its own.
    listen: Option<SocketAddr>,
    names: Vec<SanPattern>,
}

/// Reports an item that is for none of the routes: the one that it was meant for would be open.
pub fn parse(annotations: &mut Annotations<'_>, inbound: &[InboundRoute]) -> Vec<AllowItem> {
    let items = annotations.parse_list(NAME, |text| parse_item(text, inbound));
    let has_own = |route: &InboundRoute| items.iter().any(|item| item.listen == Some(route.listen));
    if items.iter().any(|item| item.listen.is_none()) && !inbound.is_empty() && inbound.iter().all(has_own) {
        annotations.reject(
            NAME,
            "every route of hotcert.dev/inbound has a list of its own, so that the names without PORT= admit nobody: \
             write PORT=NAME+NAME for several names of one route",
        );
    }
    items
}

fn parse_item(text: &str, inbound: &[InboundRoute]) -> Result<AllowItem, String> {
    let (listen, names) = match text.split_once('=') {
        None => (None, text),
        Some((listen, names)) => (Some(route_at(listen, inbound)?), names),
    };
    let names = names.split('+').map(str::parse).collect::<Result<_, _>>();
    Ok(AllowItem { listen, names: names.map_err(|error: SanPatternError| error.to_string())? })
}

/// The address of the route on this port or address.
fn route_at(text: &str, inbound: &[InboundRoute]) -> Result<SocketAddr, String> {
    let is_route = |listen: SocketAddr| match text.parse::<u16>() {
        Ok(port) => listen.port() == port,
        Err(_) => address::parse(text, Ipv4Addr::UNSPECIFIED.into()) == Ok(listen),
    };
    let mut routes = inbound.iter().map(|route| route.listen).filter(|listen| is_route(*listen));
    match (routes.next(), routes.next()) {
        (Some(listen), None) => Ok(listen),
        (None, _) => Err(format!(
            "{text:?} is the port of no route of hotcert.dev/inbound: write PORT=NAME with the port of one, or the name alone for all"
        )),
        (Some(_), Some(_)) => Err(format!(
            "{text:?} is the port of several routes of hotcert.dev/inbound: write ADDRESS:PORT=NAME"
        )),
    }
}

/// As the agent's `--allow` has it.
impl fmt::Display for AllowItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        match self.listen {
            Some(listen) => write!(f, "{listen}={}", names.join("+")),
            // Separate items, as agents of 0.2 know them too.
            None => f.write_str(&names.join(",")),
        }
    }
}
