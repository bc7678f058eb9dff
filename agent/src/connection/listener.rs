//! Listeners: bound when the agent starts, so that a bad address is an error at once; listening only from
//! the first identity on, so that nothing accepts a client that could not be served. One on `[::]` takes IPv4 too, and
//! on a machine without IPv6 alone; addresses of clients are canonical.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tracing::{info, warn};

use crate::connection::socket;
use crate::connection::tasks::ConnectionTasks;

const BACKLOG: u32 = 4096;
/// Between attempts while `accept` fails, for example for lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// Connections that are accepted before what is to become of them is decided: until their tasks have run, and those of
/// what gave way to them, they hold descriptors beside those that are counted.
const ACCEPTED_AT_ONCE: usize = 4;

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
    pub address: SocketAddr,
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

    /// The address at which the agent itself reaches this listener.
    pub fn dial_address(&self) -> SocketAddr {
        dial_address(self.address)
    }

    pub fn listen(self) -> Result<Listening, BindError> {
        let Self { socket: bound, role, address } = self;
        let failed = |cause| BindError { role, address, cause };
        bound.set_reuseaddr(true).map_err(failed)?;
        socket::configure(&bound).map_err(failed)?;
        let listener = bound.listen(BACKLOG).map_err(failed)?.into_std().map_err(failed)?;
        Ok(Listening { listener, role })
    }
}

fn bound_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // Whatever net.ipv6.bindv6only says.
            sockopt::set_ipv6_v6only(&socket, false)?;
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

/// The unspecified address is reached over loopback: of `[::]` over that of IPv4, which pods have in clusters of either
/// family, unless there is none.
pub fn dial_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if is_own(Ipv4Addr::LOCALHOST.into()) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether it is an address of this machine, or of this pod: to such an address, and to no other, the kernel sends
/// from the address itself. Nothing is sent to find out.
pub fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

pub struct Listening {
    listener: std::net::TcpListener,
    role: &'static str,
}

impl Listening {
    /// Accepts on every runtime from one queue, so that a connection goes to a runtime that is not
    /// busy; `serve_connection` runs on the runtime that accepted it. All are tasks of `tasks`.
    pub fn serve<C, F>(self, runtimes: &[Handle], tasks: &ConnectionTasks, serve_connection: C)
    where
        C: Fn(TcpStream, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        for runtime in runtimes {
            let listener = match self.listener.try_clone() {
                Ok(listener) => listener,
                Err(error) => {
                    warn!(role = self.role, %error, "a worker cannot share the listener");
                    continue;
                }
            };
            let (serve_connection, role, serving) = (serve_connection.clone(), self.role, tasks.clone());
            let accepting = async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = accept_loop(listener, role, &serving, serve_connection) => {}
                        () = serving.stopped() => {}
                    },
                    Err(error) => warn!(role, %error, "a worker cannot use the listener"),
                }
            };
            tasks.spawn_accepting(runtime, accepting);
        }
    }
}

async fn accept_loop<C, F>(
    listener: TcpListener,
    role: &'static str,
    tasks: &ConnectionTasks,
    serve_connection: C,
) where
    C: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut failing = false;
    for turn in 1_usize.. {
        if turn.is_multiple_of(ACCEPTED_AT_ONCE) {
            yield_now().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                failing = false;
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                tasks.spawn(serve_connection(stream, from));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_listens_everywhere_is_dialled_over_loopback() {
        for (listens, dialled) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "127.0.0.1:1"),
            ("[::1]:1", "[::1]:1"),
            ("10.1.2.3:1", "10.1.2.3:1"),
        ] {
            assert_eq!(dial_address(listens.parse().unwrap()), dialled.parse().unwrap());
        }
    }

    #[test]
    fn only_a_lack_of_ipv6_leads_to_ipv4_alone() {
        let lacks = |errno: Errno| lacks_ipv6(&io::Error::from(errno));
        assert!(lacks(Errno::AFNOSUPPORT) && lacks(Errno::ADDRNOTAVAIL));
        assert!(!lacks(Errno::ADDRINUSE) && !lacks(Errno::ACCESS));
    }

    #[tokio::test]
    async fn both_families_reach_one_listener_whatever_it_is_told_of_the_other() {
        let bound = Bound::bind("test", "[::]:0".parse().unwrap()).unwrap();
        let (port, listening) = (bound.address.port(), bound.listen().unwrap());
        let listener = TcpListener::from_std(listening.listener).unwrap();
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            assert_eq!(accepted.unwrap().1.ip().to_canonical(), client.unwrap().local_addr().unwrap().ip());
        }
    }
}
