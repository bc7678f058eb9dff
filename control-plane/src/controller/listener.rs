//! Listeners: bound when the controller starts, so that a bad address is an error at once; listening only when
//! there is something to serve, so that nothing accepts a client that could not be served. One on `[::]` takes IPv4 too, and
//! on a machine without IPv6 alone; addresses of clients are canonical.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const BACKLOG: u32 = 4096;
/// Between attempts while `accept` fails, for example for lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {role}: {}", why(.cause))]
pub struct BindError {
    role: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

fn why(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; choose another address or stop what uses it".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address; choose one of its own, or [::] for all".into()
        }
        io::ErrorKind::PermissionDenied => "permission denied; choose a port above 1023".into(),
        _ => format!("{cause}; choose another address"),
    }
}

/// An address that is reserved, on which nothing is accepted yet.
pub struct Bound {
    socket: TcpSocket,
    role: &'static str,
    address: SocketAddr,
}

impl Bound {
    pub fn bind(role: &'static str, configured: SocketAddr) -> Result<Self, BindError> {
        let failed = |cause| BindError { role, address: configured, cause };
        let socket = match bound_socket(configured) {
            Err(error) if configured.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
                let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, configured.port()));
                info!(role, %configured, %error, "there is no IPv6 here: listening on IPv4 alone");
                bound_socket(ipv4)
            }
            bound => bound,
        }
        .map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        info!(role, configured = %configured, %address, "bound");
        Ok(Self { socket, role, address })
    }

    /// The address at which the controller itself reaches this listener: the unspecified one over loopback, of `[::]`
    /// over that of IPv4 unless there is none.
    pub fn dial_address(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) if has_ipv4_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }

    /// Listens, and serves each connection in a task of its own until `stop`.
    pub fn serve<C, F>(self, stop: CancellationToken, serve_connection: C) -> Result<(), BindError>
    where
        C: Fn(TcpStream, SocketAddr) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { socket, role, address } = self;
        let failed = |cause| BindError { role, address, cause };
        socket.set_reuseaddr(true).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        tokio::spawn(stop.run_until_cancelled_owned(accept_loop(listener, role, serve_connection)));
        Ok(())
    }
}

fn bound_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // Whatever net.ipv6.bindv6only says.
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Before `listen`, only this keeps other processes from binding the address.
    socket.set_reuseaddr(false)?;
    Ok(socket)
}

/// The kernel was built or started without it.
fn lacks_ipv6(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::AFNOSUPPORT) || is(Errno::ADDRNOTAVAIL)
}

/// Nothing is sent to find out.
fn has_ipv4_loopback() -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::LOCALHOST, 9)))
        .is_ok()
}

async fn accept_loop<C, F>(listener: TcpListener, role: &'static str, serve_connection: C)
where
    C: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                failing = false;
                // With Nagle's algorithm small writes would wait for acknowledgements.
                let _ = stream.set_nodelay(true);
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                tokio::spawn(serve_connection(stream, from));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    failing = true;
                    warn!(role, %error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
