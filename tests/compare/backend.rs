//! The plain service behind every terminator: one thread, HTTP/1.1 just as far as the load speaks it.
//! `GET /` answers a few bytes, `GET /bytes/N` answers N, `POST` takes what comes and then answers. The service
//! that answers gRPC calls ([`crate::grpc`]) runs here as well.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::message::{Message, ZEROS};

const LISTENER: Token = Token(usize::MAX);
const SMALL: usize = 128;

/// A connection to a service.
pub trait Client {
    fn new(socket: TcpStream) -> Self;

    /// Does all there is to do. An error is the end, a proper one included. What comes after a read that left
    /// room in `scratch` is another event.
    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<()>;
}

/// Starts a service on a thread of its own, which ends with the program.
pub fn start<C: Client>() -> io::Result<SocketAddr> {
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    std::thread::Builder::new().name("backend".into()).spawn(move || serve::<C>(listener, poll))?;
    Ok(address)
}

fn serve<C: Client>(listener: TcpListener, mut poll: Poll) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    let mut clients = Slab::<C>::new();
    let mut scratch = vec![0; 256 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    let _ = socket.set_nodelay(true);
                    let entry = clients.vacant_entry();
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(entry.key()), both)?;
                    entry.insert(C::new(socket));
                }
            } else if let Some(client) = clients.get_mut(event.token().0)
                && (client.turn(&mut scratch).is_err() || event.is_read_closed())
            {
                clients.remove(event.token().0);
            }
        }
    }
}

/// A connection that speaks HTTP/1.1.
pub struct Http {
    socket: TcpStream,
    request: Message,
    /// Of an answer's body.
    unsent_body: u64,
}

impl Client for Http {
    fn new(socket: TcpStream) -> Self {
        Self { socket, request: Message::default(), unsent_body: 0 }
    }

    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        self.pay()?;
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    for _ in 0..self.request.feed(&scratch[..count])? {
                        self.answer()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Http {
    fn answer(&mut self) -> io::Result<()> {
        let size = self.request.path().strip_prefix("/bytes/").map_or(Some(SMALL), |size| size.parse().ok());
        let size = size.ok_or(io::ErrorKind::InvalidInput)?;
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + size.min(SMALL), b'.');
        // A few bytes always go into an empty socket, which a client that waits for its answer has.
        self.socket.write_all(&answer)?;
        self.unsent_body = (size - size.min(SMALL)) as u64;
        self.pay()
    }

    fn pay(&mut self) -> io::Result<()> {
        while self.unsent_body > 0 {
            let chunk = ZEROS.len().min(usize::try_from(self.unsent_body).unwrap_or(usize::MAX));
            match self.socket.write(&ZEROS[..chunk]) {
                Ok(count) => self.unsent_body -= count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
