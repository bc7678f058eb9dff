//! A client's connection: a socket that does not block, TLS over it if the peer has TLS, and what was written
//! but not sent yet.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use kit::dialer::Dialer;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tokio_rustls::rustls::ClientConnection;

pub struct Connection {
    socket: TcpStream,
    /// `None` to speak plainly.
    tls: Option<ClientConnection>,
    /// Plain bytes that did not go out yet; without TLS alone.
    unsent: Vec<u8>,
    closed: bool,
}

/// Buffers that all connections of one thread read into.
pub struct Scratch {
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    pub fn new() -> Self {
        Self { sealed: vec![0; 128 * 1024], plain: vec![0; 128 * 1024] }
    }
}

impl Connection {
    pub fn open(dialer: &Dialer, address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let tls = dialer.tls().map_err(io::Error::other)?;
        Ok(Self { socket, tls, unsent: Vec::new(), closed: false })
    }

    /// By the other side.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What was agreed on by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn_protocol()
    }

    /// Takes bytes to send at the next [`push`](Self::push): how many of them.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.writer().write(bytes),
            None => self.unsent.write(bytes),
        }
    }

    /// Sends what there is to send, as far as it goes; whether that was all.
    pub fn push(&mut self) -> io::Result<bool> {
        loop {
            let sent = match &mut self.tls {
                Some(tls) if !tls.wants_write() => return Ok(true),
                Some(tls) => tls.write_tls(&mut self.socket),
                None if self.unsent.is_empty() => return Ok(true),
                None => self.socket.write(&self.unsent).inspect(|count| drop(self.unsent.drain(..*count))),
            };
            match sent {
                Ok(_) => {}
                Err(error) if is_not_now(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives all that has come to `take`, without TLS. A read that leaves room in the buffer is the last, unless
    /// the connection's end is looked for: what comes after it is another event.
    pub fn pull(
        &mut self,
        scratch: &mut Scratch,
        to_end: bool,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut room = false;
        while to_end || !room {
            let count = match self.socket.read(&mut scratch.sealed) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(());
                }
                Ok(count) => count,
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            room = count < scratch.sealed.len();
            let mut rest = &scratch.sealed[..count];
            let Some(tls) = &mut self.tls else {
                take(rest)?;
                continue;
            };
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                loop {
                    match tls.reader().read(&mut scratch.plain) {
                        Ok(0) => {
                            self.closed = true;
                            break;
                        }
                        Ok(count) => take(&scratch.plain[..count])?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// As a proper client ends.
    pub fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.push();
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    // A socket that is still connecting is not connected yet.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
