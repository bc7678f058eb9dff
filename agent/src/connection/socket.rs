//! The options of TCP sockets: set on a listener they hold for what it accepts, at no cost for each connection.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// From the last byte to the first probe. Below what load balancers and connection tables of the network keep an idle
/// connection for, of which four minutes are the shortest that are common.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between probes that are not answered, and how many of them: a peer that has gone without a word is noticed within 90 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Small writes go out at once, and a peer that has gone without a word is noticed. There is no limit (`TCP_USER_TIMEOUT`)
/// on how long sent bytes may wait: the kernel counts the time for which a peer does not read to it, and a reader may
/// pause.
pub fn configure(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    // With Nagle's algorithm small writes would wait for acknowledgements.
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn options_of_a_listener_hold_for_what_it_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        configure(&listener).unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, accepted) = (client.unwrap(), accepted.unwrap().0);
        assert!(sockopt::tcp_nodelay(&accepted).unwrap() && sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), KEEPALIVE_PROBES);
    }
}
