//! Listeners: bound when the agent starts, so that a bad address is an error then; listening only
//! from the first identity on, so that nothing answers as if there were one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::runtime::shutdown::Stop;

const BACKLOG: u32 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {role}: {cause}; choose another address or stop what uses it")]
pub struct BindError {
    role: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

/// An address that is ours, on which nobody is answered yet.
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
        // Until it listens the address is kept from others only so.
        socket.set_reuseaddr(false).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        info!(role, configured = %configured, %address, "bound");
        Ok(Self { socket, role, address })
    }

    /// Where the agent itself reaches this listener.
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
    /// Has every runtime accept from the one queue, so that a connection goes to one that has time;
    /// `connection` runs on the runtime that accepted it. Ends with `until`.
    pub fn serve<C, F>(self, runtimes: &[Handle], until: &Stop, connection: C)
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
            let (connection, until, role) = (connection.clone(), until.clone(), self.role);
            runtime.spawn(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = accept(listener, role, connection) => {}
                        () = until.wait() => {}
                    },
                    Err(error) => warn!(role, %error, "a worker cannot use the listener"),
                }
            });
        }
    }
}

async fn accept<C, F>(listener: TcpListener, role: &'static str, connection: C)
where
    C: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                failing = false;
                // Without it small writes wait for acknowledgements.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, from));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    failing = true;
                    warn!(role, %error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
