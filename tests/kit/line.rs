//! A line to a server that can be held: while it is, neither bytes nor the end of a connection come
//! through, as when a network goes silent. Cutting it ends what is open.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

pub struct Line {
    pub address: SocketAddr,
    held: Arc<AtomicBool>,
    /// The client's ends.
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let made =
            Self { address: listener.local_addr().unwrap(), held: Arc::default(), open: Arc::default() };
        let (held, open) = (made.held.clone(), made.open.clone());
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                open.lock().unwrap().push(client.try_clone().unwrap());
                let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in ways {
                    let (from, to, held) = (from.unwrap(), to.unwrap(), held.clone());
                    spawn(move || carry(from, to, &held));
                }
            }
        });
        made
    }

    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Ends what is open; what comes next goes through.
    pub fn cut(&self) {
        for client in self.open.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
        self.held.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut buffer = [0; 1 << 14];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        while held.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(2));
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
