//! A server that has gone without a word: nothing that is sent to it is answered, not even a connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

/// Connections fill the queue of a listener that accepts none.
pub struct Silent {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    /// `None` if something else listens there.
    pub fn at(address: SocketAddr) -> Option<Self> {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &address).ok()?;
        listen(&listener, 0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 16, "the queue is full");
        }
        Some(Self { _listener: listener.into(), _queued: queued })
    }
}
