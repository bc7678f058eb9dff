//! The agent's own listeners as destinations: a route that leads to one of them would send traffic in a circle.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::connection::listener::is_own;

/// The flag that opens the inbound listeners.
pub const INBOUND: &str = "--inbound";

/// Every listener, with the flag that opens it.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners(Vec<(&'static str, SocketAddr)>);

impl OwnListeners {
    pub fn new(listeners: impl IntoIterator<Item = (&'static str, SocketAddr)>) -> Self {
        Self(listeners.into_iter().collect())
    }

    /// The flag of the listener that a connection to this address reaches.
    pub fn reached_at(&self, destination: SocketAddr) -> Option<&'static str> {
        let address = dialled(destination.ip());
        let reached = |listen: &SocketAddr| {
            listen.port() != 0 && listen.port() == destination.port() && covers(listen.ip(), address)
        };
        self.0.iter().find(|(_, listen)| reached(listen)).map(|(flag, _)| *flag)
    }

    /// As [`Self::reached_at`], but for where outbound traffic goes. A pod may call itself over mTLS, as a member of a
    /// headless Service does, so an inbound listener is a destination like any other.
    pub fn looped_at(&self, destination: SocketAddr) -> Option<&'static str> {
        self.reached_at(destination).filter(|flag| *flag != INBOUND)
    }
}

/// The address that a connection to this one goes to.
fn dialled(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether a listener on `listen` is reached at `ip`. One on `[::]` takes IPv4 too.
fn covers(listen: IpAddr, ip: IpAddr) -> bool {
    let listen = listen.to_canonical();
    match listen.is_unspecified() {
        true => (listen.is_ipv6() || ip.is_ipv4()) && (ip.is_loopback() || is_own(ip)),
        false => listen == ip,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_listener_is_reached_by_every_address_that_leads_to_it() {
        let reached = |listen: &str, destination: &str| {
            let own = OwnListeners::new([("--outbound", listen.parse().unwrap())]);
            own.reached_at(destination.parse().unwrap()).is_some()
        };
        for (listen, destination) in [
            ("127.0.0.1:9001", "127.0.0.1:9001"),
            ("127.0.0.1:9001", "0.0.0.0:9001"),
            ("127.0.0.1:9001", "[::ffff:127.0.0.1]:9001"),
            ("127.0.0.1:9001", "[::ffff:0.0.0.0]:9001"),
            ("0.0.0.0:9001", "127.8.9.1:9001"),
            ("[::]:9001", "127.0.0.1:9001"),
            ("[::]:9001", "[::1]:9001"),
            ("[::1]:9001", "[::]:9001"),
            ("10.1.2.3:9001", "10.1.2.3:9001"),
        ] {
            assert!(reached(listen, destination), "{listen} at {destination}");
        }
        for (listen, destination) in [
            ("127.0.0.1:9001", "127.0.0.1:9002"),
            ("127.0.0.1:9001", "127.0.0.2:9001"),
            ("127.0.0.1:9001", "[::1]:9001"),
            ("0.0.0.0:9001", "[::1]:9001"),
            // Documentation: no machine has it.
            ("0.0.0.0:9001", "203.0.113.7:9001"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert!(!reached(listen, destination), "{listen} at {destination}");
        }
    }

    #[test]
    fn own_addresses_are_told_from_those_of_others() {
        // The address from which this machine reaches others, if it reaches any.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.7:9").is_ok() {
            assert!(is_own(socket.local_addr().unwrap().ip()));
        }
        assert!(is_own("127.0.0.1".parse().unwrap()) && is_own("::1".parse().unwrap()));
        assert!(!is_own("203.0.113.7".parse().unwrap()) && !is_own("224.0.0.1".parse().unwrap()));
    }

    #[test]
    fn outbound_traffic_may_go_to_the_inbound_listener_and_to_no_other() {
        let own = OwnListeners::new([
            (INBOUND, "0.0.0.0:8443".parse().unwrap()),
            ("--admin", "0.0.0.0:9640".parse().unwrap()),
        ]);
        assert_eq!(own.looped_at("127.0.0.1:8443".parse().unwrap()), None);
        assert_eq!(own.looped_at("127.0.0.1:9640".parse().unwrap()), Some("--admin"));
    }
}
