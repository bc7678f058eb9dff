//! One connection made and one request answered, by hand: when the handshake showed the leaf, and how long the answer took.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kit::dialer::Dialer;

use crate::load::Script;
use crate::message::Message;

pub fn visit(dialer: &Dialer, address: SocketAddr, within: Duration) -> io::Result<Visit> {
    visit_with(dialer, address, within, true)
}

/// `nodelay`: without Nagle's algorithm, which a socket has unless it is told otherwise.
pub fn visit_with(
    dialer: &Dialer,
    address: SocketAddr,
    within: Duration,
    nodelay: bool,
) -> io::Result<Visit> {
    let mut socket = std::net::TcpStream::connect_timeout(&address, within)?;
    socket.set_nodelay(nodelay)?;
    socket.set_read_timeout(Some(within))?;
    let mut tls = dialer.tls().map_err(io::Error::other)?;
    let mut leaf = None;
    if let Some(tls) = &mut tls {
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        leaf = tls.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    }
    let shown = Instant::now();
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tokio_rustls::rustls::StreamOwned::new(tls, socket)),
        None => Box::new(socket),
    };
    stream.write_all(Script::small(1).ask.as_bytes())?;
    let mut answer = Message::default();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.feed(&buffer[..count])? > 0 {
            return Ok(Visit { shown, answered: shown.elapsed(), leaf });
        }
    }
}

trait Stream: io::Read + io::Write {}
impl<T: io::Read + io::Write> Stream for T {}

pub struct Visit {
    /// When the client had the server's leaf and its proof.
    pub shown: Instant,
    /// How long the answer to the first request took from then on.
    pub answered: Duration,
    /// DER.
    pub leaf: Option<Vec<u8>>,
}
