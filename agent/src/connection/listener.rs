//! Listeners: bound when the agent starts, so that a bad address is an error at once; listening only from
//! the first identity on, so that nothing accepts a client that could not be served.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tracing::{info, warn};

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
            "this machine does not have the address; choose one of its own, or 0.0.0.0 for all".into()
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
        let socket = match configured {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(failed)?;
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(configured).map_err(failed)?;
        // Before `listen`, only this keeps other processes from binding the address.
        socket.set_reuseaddr(false).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        info!(role, configured = %configured, %address, "bound");
        Ok(Self { socket, role, address })
    }

    /// The address at which the agent itself reaches this listener.
    pub fn dial_address(&self) -> SocketAddr {
        dial_address(self.address)
    }

    pub fn listen(self) -> Result<Listening, BindError> {
        let Self { socket, role, address } = self;
        let failed = |cause| BindError { role, address, cause };
        socket.set_reuseaddr(true).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?.into_std().map_err(failed)?;
        Ok(Listening { listener, role })
    }
}

/// The unspecified address is reached over loopback.
pub fn dial_address(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
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
                // With Nagle's algorithm small writes would wait for acknowledgements.
                let _ = stream.set_nodelay(true);
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
