//! The app's endpoint: an address on the pod's loopback, or a Unix socket.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use humantime::format_duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::socket;
use crate::proxy::address::{self, AddressError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("\"{0}\" is not an absolute path; write unix:/PATH")]
    RelativePath(String),
}

#[derive(Debug, thiserror::Error)]
#[error("the app at {target} cannot be reached: {cause}")]
pub struct AppUnreachable {
    target: Target,
    cause: io::Error,
}

impl AppUnreachable {
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }
}

impl Target {
    pub async fn connect(&self, within: Duration) -> Result<AppStream, AppUnreachable> {
        let connect = async {
            match self {
                Self::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    let _ = match address.ip().is_loopback() {
                        // Its end is never missed.
                        true => stream.set_nodelay(true),
                        false => socket::configure(&stream),
                    };
                    Ok(AppStream::Tcp(stream))
                }
                Self::Unix(path) => UnixStream::connect(path).await.map(AppStream::Unix),
            }
        };
        let result = match tokio::time::timeout(within, connect).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {}", format_duration(within)),
            )),
        };
        result.map_err(|cause| AppUnreachable { target: self.clone(), cause })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(path) => Err(TargetError::RelativePath(path.into())),
            None => Ok(Self::Tcp(address::parse(text, Ipv4Addr::LOCALHOST.into())?)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub enum AppStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AppStream {
    /// Closes with a reset instead of an orderly end, so that the app does not mistake a truncated stream
    /// for a complete one.
    pub fn abort(self) {
        if let Self::Tcp(stream) = self {
            reset(stream);
        }
    }
}

/// As `AppStream::abort`.
pub fn reset(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            AppStream::Tcp($stream) => $call,
            AppStream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for AppStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, out))
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
