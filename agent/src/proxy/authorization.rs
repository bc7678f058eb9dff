//! Who may come in: the names a verified peer's certificate must carry, for every inbound route or for one of them.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::proxy::address::{self, AddressError};
use hotcert_tls::{Names, SanPattern, SanPatternError};

/// The peers that a listener admits. Without patterns, every peer that the trust bundle verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(pub Vec<SanPattern>);

impl AllowList {
    pub fn admits(&self, names: &Names) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(names))
    }
}

/// Peers that were verified and not admitted, by the listener's address.
pub type NotAllowed = Family<RouteLabels, Counter>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub route: String,
}

impl RouteLabels {
    pub fn of(listen: SocketAddr) -> Self {
        Self { route: listen.to_string() }
    }
}

/// One value of `--allow`: `[LISTEN=]PATTERN[+PATTERN…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowItem {
    listen: Option<SocketAddr>,
    patterns: Vec<SanPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {cause}")]
pub struct AllowItemError {
    text: String,
    cause: String,
}

impl FromStr for AllowItem {
    type Err = AllowItemError;

    fn from_str(text: &str) -> Result<Self, AllowItemError> {
        let refuse = |cause: String| AllowItemError { text: text.into(), cause };
        let (listen, patterns) = match text.split_once('=') {
            None => (None, text),
            Some((listen, patterns)) => {
                let listen = address::parse(listen, Ipv6Addr::UNSPECIFIED.into());
                let listen = listen.map_err(|error: AddressError| refuse(format!("before `=`, {error}")))?;
                (Some(listen), patterns)
            }
        };
        let patterns = patterns.split('+').map(str::parse).collect::<Result<_, SanPatternError>>();
        Ok(Self { listen, patterns: patterns.map_err(|error| refuse(error.to_string()))? })
    }
}

/// The lists of all routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowLists {
    /// Of each route that has none of its own.
    others: AllowList,
    /// By the address of the route.
    routes: Vec<(SocketAddr, AllowList)>,
}

/// A list that would not do what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowListsError {
    #[error("{listen} is the address of no route of --inbound; its addresses are: {}", joined(routes, ", "))]
    UnknownRoute { listen: SocketAddr, routes: Vec<SocketAddr> },
    #[error(
        "every route of --inbound has a list of its own, so that {} would admit nobody anywhere; write LISTEN={} for the route that it is for",
        joined(&names.0, ","), joined(&names.0, "+")
    )]
    Unused { names: AllowList },
}

impl AllowLists {
    /// Items of one route are one list.
    pub fn new(items: Vec<AllowItem>) -> Self {
        let mut lists = Self::default();
        for AllowItem { listen, patterns } in items {
            let list = match listen {
                None => &mut lists.others,
                Some(listen) => lists.of_route(listen),
            };
            list.0.extend(patterns);
        }
        lists
    }

    fn of_route(&mut self, listen: SocketAddr) -> &mut AllowList {
        let at = self.routes.iter().position(|(of, _)| *of == listen).unwrap_or_else(|| {
            self.routes.push((listen, AllowList::default()));
            self.routes.len() - 1
        });
        &mut self.routes[at].1
    }

    pub fn is_empty(&self) -> bool {
        self.others.0.is_empty() && self.routes.is_empty()
    }

    /// What is wrong with the lists for routes with these addresses: a list that is for none of them would leave the
    /// one that it was meant for open.
    pub fn check(&self, routes: &[SocketAddr]) -> Vec<AllowListsError> {
        let unknown = self.routes.iter().filter(|(listen, _)| !routes.contains(listen));
        let mut errors: Vec<_> = unknown
            .map(|(listen, _)| AllowListsError::UnknownRoute { listen: *listen, routes: routes.to_vec() })
            .collect();
        let has_own = |route: &SocketAddr| self.routes.iter().any(|(listen, _)| listen == route);
        if !self.others.0.is_empty() && !routes.is_empty() && routes.iter().all(has_own) {
            errors.push(AllowListsError::Unused { names: self.others.clone() });
        }
        errors
    }

    /// The list of the route with this address.
    pub fn of(&self, listen: SocketAddr) -> &AllowList {
        self.routes.iter().find(|(of, _)| *of == listen).map_or(&self.others, |(_, list)| list)
    }
}

/// As the values of `--allow`.
impl fmt::Display for AllowLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.others.0.iter().map(ToString::to_string);
        let routes = self.routes.iter().map(|(listen, list)| format!("{listen}={}", joined(&list.0, "+")));
        f.write_str(&others.chain(routes).collect::<Vec<_>>().join(","))
    }
}

fn joined(values: &[impl ToString], separator: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(dns: &str) -> Names {
        Names { dns: vec![dns.into()], ..Names::default() }
    }

    fn lists(items: &[&str]) -> AllowLists {
        AllowLists::new(items.iter().map(|item| item.parse().unwrap()).collect())
    }

    fn route(port: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], port))
    }

    #[test]
    fn no_patterns_admit_any_verified_peer() {
        assert!(AllowList::default().admits(&names("a")));
        assert!(!AllowList(vec!["dns:b".parse().unwrap()]).admits(&names("a")));
    }

    #[test]
    fn a_route_has_its_own_list_or_that_of_all_others() {
        let lists = lists(&["dns:a", "0.0.0.0:1=dns:b+spiffe://d/c", "0.0.0.0:2=dns:d", "0.0.0.0:1=dns:e"]);
        let admitted = |port| {
            let list = lists.of(route(port));
            ["a", "b", "d", "e"].into_iter().filter(|name| list.admits(&names(name))).collect::<String>()
        };
        assert_eq!([1, 2, 3].map(admitted), ["be", "d", "a"]);
        assert_eq!(lists.to_string(), "dns:a,0.0.0.0:1=dns:b+spiffe://d/c+dns:e,0.0.0.0:2=dns:d");
        assert_eq!(lists.check(&[route(1), route(2), route(3)]), []);
    }

    #[test]
    fn lists_that_are_for_no_route_are_an_error() {
        let routes = [route(1), route(2)];
        let unknown = AllowListsError::UnknownRoute { listen: route(3), routes: routes.to_vec() };
        assert_eq!(
            unknown.to_string(),
            "0.0.0.0:3 is the address of no route of --inbound; its addresses are: 0.0.0.0:1, 0.0.0.0:2"
        );
        assert_eq!(lists(&["0.0.0.0:3=dns:a"]).check(&routes), [unknown]);
        assert_eq!(lists(&["127.0.0.1:1=dns:a"]).check(&routes).len(), 1);
        let unused = lists(&["0.0.0.0:1=dns:a", "dns:b", "0.0.0.0:2=dns:a", "dns:c"]).check(&routes);
        assert_eq!(
            unused[0].to_string(),
            "every route of --inbound has a list of its own, so that dns:b,dns:c would admit nobody anywhere; \
             write LISTEN=dns:b+dns:c for the route that it is for"
        );
        assert_eq!(lists(&["dns:a"]).check(&[]), []);
    }

    #[test]
    fn malformed_items_are_refused() {
        for (item, cause) in [
            ("", "neither spiffe:// nor dns:"),
            ("0.0.0.0:1=", "neither spiffe:// nor dns:"),
            ("dns:a+", "neither spiffe:// nor dns:"),
            ("0.0.0.0:1=dns:a+b", "neither spiffe:// nor dns:"),
            ("8443=dns:a", "before `=`, \"8443\" is not ADDRESS:PORT; did you mean [::]:8443?"),
            ("=dns:a", "before `=`, \"\" is not ADDRESS:PORT"),
        ] {
            let error = item.parse::<AllowItem>().unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }
}
