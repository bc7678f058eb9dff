//! Connections as fast as one thread makes them, each held for a moment and reset: no port is left waiting.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, connect, send, socket_with, sockopt,
};

use crate::attacker::step;

/// So many are open at any time.
const OPEN: usize = 512;

/// Each says `message`. At most so many a second, or as many as go.
pub fn flood(from: IpAddr, to: SocketAddr, message: &[u8], per_second: Option<u32>) -> io::Result<()> {
    let mut open = VecDeque::with_capacity(OPEN);
    let begin = Instant::now();
    for count in 1_u32.. {
        if open.len() == OPEN {
            open.pop_front();
        }
        // The machine may have none to give for a moment.
        if let Ok(socket) = visit(from, to, message) {
            open.push_back(socket);
            step();
        }
        if let Some(per_second) = per_second {
            let due = Duration::from_secs(1) * (count / per_second)
                + Duration::from_secs(1) * (count % per_second) / per_second;
            let early = due.saturating_sub(begin.elapsed());
            // A sleep is never as short as one connection takes.
            if early > Duration::from_millis(2) {
                std::thread::sleep(early);
            }
        }
    }
    Ok(())
}

fn visit(from: IpAddr, to: SocketAddr, message: &[u8]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    // Over loopback it is done at once, or the backlog is full and it goes on without us.
    let _ = connect(&socket, &to);
    let _ = send(&socket, message, SendFlags::NOSIGNAL);
    Ok(socket)
}
