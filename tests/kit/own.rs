//! Addresses that nothing else comes to listen on, even while nothing listens there: neither another test, as each has
//! a process of its own, nor whatever has a port of the system's choice, which is 32768 or above.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Of loopback, with the process id in it.
pub fn address(port: u16) -> SocketAddr {
    assert!(port < 1 << 15, "{port} may be one of the system's choice");
    let ip = Ipv4Addr::from_bits(0x7f40_0000 | (std::process::id() & 0x003f_ffff));
    SocketAddr::new(IpAddr::V4(ip), port)
}

/// On every address of the machine, for what has to be found by a name; `at` is less than four.
pub fn port(at: u16) -> u16 {
    assert!(at < 4);
    20_000 + (std::process::id() % 3_000) as u16 * 4 + at
}
