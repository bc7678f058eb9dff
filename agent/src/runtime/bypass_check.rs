//! The bypass check: an app that listens beyond loopback can be reached without the agent, in plain text and
//! by unauthenticated clients. Only the pod itself can see that, so the agent reads the kernel's table of
//! listening sockets.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tracing::{info, warn};

use crate::admin::agent_status::AgentStatus;
use crate::proxy::app_endpoint::Target;
use crate::proxy::inbound::InboundRoute;

/// Apps start after the agent, and rarely change their address.
const INTERVAL: Duration = Duration::from_secs(10);
/// Read of each kernel table; listening sockets come first in it.
const MAX_BYTES: u64 = 1 << 20;
const LISTENING: &str = "0A";

/// Runs until dropped. Ends at once if no route leads to a TCP port on loopback.
pub async fn run(routes: &[InboundRoute], status: AgentStatus) {
    let ports: Vec<u16> = routes
        .iter()
        .filter_map(|route| match route.target {
            Target::Tcp(app) if app.ip().is_loopback() => Some(app.port()),
            _ => None,
        })
        .collect();
    if ports.is_empty() {
        return;
    }
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tick.tick().await;
        // Blocking: the kernel iterates over all its connections.
        let Ok(listening) = tokio::task::spawn_blocking(listening).await else { return };
        let exposed: Vec<SocketAddr> =
            listening.into_iter().filter(|at| !at.ip().is_loopback() && ports.contains(&at.port())).collect();
        let before = status.report().exposed;
        if exposed == before {
            continue;
        }
        if exposed.is_empty() {
            info!("the app no longer listens beyond loopback");
        }
        for at in exposed.iter().filter(|at| !before.contains(at)) {
            warn!(
                address = %at,
                "the app listens beyond loopback: clients can bypass the agent and reach it without TLS; \
                 configure it to listen on 127.0.0.1:{}",
                at.port()
            );
        }
        status.update(|report| report.exposed = exposed);
    }
}

/// Listening addresses in this network namespace.
fn listening() -> Vec<SocketAddr> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    // Without IPv6 there is no second table.
    let mut found: Vec<_> = tables.iter().filter_map(|table| read(table).ok()).flatten().collect();
    found.sort();
    found.dedup();
    found
}

fn read(table: &str) -> io::Result<Vec<SocketAddr>> {
    let lines = BufReader::new(File::open(table)?.take(MAX_BYTES)).lines().skip(1);
    Ok(parse(lines.map_while(Result::ok)))
}

/// Lines such as `0: 0100007F:1F90 00000000:0000 0A …`; listening sockets come first.
fn parse(lines: impl Iterator<Item = String>) -> Vec<SocketAddr> {
    lines
        .map_while(|line| {
            let mut columns = line.split_whitespace();
            let (local, state) = (columns.nth(1)?, columns.nth(1)?);
            (state == LISTENING).then(|| address(local))
        })
        .flatten()
        .collect()
}

/// Words of 32 bits in the machine's own order, a colon, the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = (0..host.len() / 8)
        .map(|word| Some(u32::from_str_radix(host.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let ip: IpAddr = match words.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        words => Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_at_its_address() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let at = listener.local_addr().unwrap();
            assert!(listening().contains(&at), "{at} in {:?}", listening());
        }
    }

    #[test]
    fn established_connections_end_the_listing() {
        let lines = [
            "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0",
            "   1: 0100007F:1F91 0100007F:0001 01 00000000:00000000 00:00000000 00000000     0",
            "   2: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0",
            "nonsense",
        ];
        let found = parse(lines.iter().map(ToString::to_string));
        assert_eq!(found, ["0.0.0.0:8080".parse().unwrap()]);
    }
}
