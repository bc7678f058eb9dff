//! What stands behind a proxy: it reads to the letter, keeps the bytes of each request, and answers with what it read.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http1::{Fault, Fields, RequestHead, Source, values};
use crate::pki::{Pair, hex};

/// What a parser makes of a request, in one form for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    pub method: String,
    pub target: String,
    pub host: String,
    /// Its length and digest.
    pub body: String,
    /// The fields whose names begin with `x-`, sorted.
    pub fields: Vec<(String, String)>,
}

impl Parsed {
    pub fn of(head: &RequestHead, body: &[u8]) -> Self {
        let hosts: Vec<_> = values(&head.fields, "host").map(latin1).collect();
        let of_test =
            head.fields.iter().filter(|(name, _)| name.starts_with("x-") && !name.starts_with("x-forwarded"));
        let mut fields: Vec<_> = of_test.map(|(name, value)| (name.clone(), latin1(value))).collect();
        fields.sort();
        let (method, target) = (head.method.clone(), latin1(&head.target));
        Self { method, target, host: hosts.join(" and "), body: digest(body), fields }
    }
}

/// A character for each byte, as parsers of other languages have it.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

pub fn digest(body: &[u8]) -> String {
    format!("{}:{}", body.len(), &hex(&Sha256::digest(body))[..16])
}

/// What came.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Of the proxy to the sink.
    pub connection: usize,
    pub raw: Vec<u8>,
    pub head: Option<RequestHead>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub fault: Option<Fault>,
}

#[derive(Default)]
struct State {
    forwarded: Mutex<Vec<Forwarded>>,
    /// Connections in the middle of a request.
    busy: Mutex<Vec<(usize, TcpStream)>>,
    connections: AtomicUsize,
}

pub struct Sink {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Sink {
    /// With TLS, if there is a leaf.
    pub fn start(leaf: Option<&Pair>) -> Self {
        let tls = leaf.map(|leaf| Arc::new(config(leaf)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let of_listener = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (Arc::clone(&of_listener), tls.clone());
                std::thread::spawn(move || {
                    let number = state.connections.fetch_add(1, Ordering::Relaxed);
                    let Ok(socket) = stream.try_clone() else { return };
                    match tls.and_then(|tls| ServerConnection::new(tls).ok()) {
                        None => state.serve(number, stream, &socket),
                        Some(tls) => state.serve(number, StreamOwned::new(tls, stream), &socket),
                    }
                    let _ = socket.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, state }
    }

    /// What came since this was last called, when no request is under way any more, or none that goes on.
    pub fn take(&self, patience: Duration) -> Vec<Forwarded> {
        let end = Instant::now() + patience;
        while !self.state.busy.lock().unwrap().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        for (_, stream) in self.state.busy.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let end = Instant::now() + crate::DEADLINE;
        while !self.state.busy.lock().unwrap().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut self.state.forwarded.lock().unwrap())
    }
}

fn config(leaf: &Pair) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(leaf.cert.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let builder =
        ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Says that a request has begun when its first byte comes.
struct Watched<'a, S> {
    stream: S,
    state: &'a State,
    number: usize,
    socket: &'a TcpStream,
}

impl<S: Read> Read for Watched<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        let mut busy = self.state.busy.lock().unwrap();
        if read > 0 && !busy.iter().any(|(number, _)| *number == self.number) {
            busy.push((self.number, self.socket.try_clone()?));
        }
        Ok(read)
    }
}

impl<S: Write> Write for Watched<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl State {
    fn serve<S: Read + Write>(&self, number: usize, stream: S, socket: &TcpStream) {
        let _ = socket.set_nodelay(true);
        let mut source = Source::new(Watched { stream, state: self, number, socket }).keep_raw();
        while self.serve_one(number, &mut source) {}
        self.busy.lock().unwrap().retain(|(busy, _)| *busy != number);
    }

    /// Whether another request may follow.
    fn serve_one<S: Read + Write>(&self, number: usize, source: &mut Source<Watched<'_, S>>) -> bool {
        let (head, body, trailers, fault) = match source.request_head() {
            Err(Fault::Closed) => return false,
            Err(Fault::Reset) if source.is_empty() => return false,
            Err(fault) => (None, Vec::new(), Fields::new(), Some(fault)),
            Ok(head) => {
                if values(&head.fields, "expect").next().is_some() {
                    let _ = source.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                    let _ = source.stream().flush();
                }
                let (body, trailers, fault) = source.body(head.framing);
                (Some(head), body, trailers, fault)
            }
        };
        let mut raw = source.raw();
        if fault.is_some() {
            raw.extend_from_slice(source.rest_of_buffer());
        }
        let broken = fault.is_some();
        // In a field, so that the answer to a HEAD has it too.
        let parsed = head
            .as_ref()
            .map_or_else(|| "none".into(), |head| ascii(&json!(Parsed::of(head, &body)).to_string()));
        let closes = broken
            || head.as_ref().is_some_and(|head| {
                head.minor == 0
                    || crate::http1::members(&head.fields, "connection").iter().any(|what| what == "close")
            });
        self.forwarded.lock().unwrap().push(Forwarded {
            connection: number,
            raw,
            head,
            body,
            trailers,
            fault,
        });
        let status = if broken { "400 Malformed" } else { "200 OK" };
        let connection = if closes { "connection: close\r\n" } else { "" };
        let answer =
            format!("HTTP/1.1 {status}\r\nx-sink: {parsed}\r\ncontent-length: 0\r\n{connection}\r\n");
        if source.is_empty() {
            self.busy.lock().unwrap().retain(|(busy, _)| *busy != number);
        }
        let stream = source.stream();
        stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_ok() && !closes
    }
}

/// JSON with what is beyond ASCII escaped, so that it can be a field.
fn ascii(json: &str) -> String {
    json.chars()
        .map(
            |letter| if letter.is_ascii() { letter.to_string() } else { format!("\\u{:04x}", letter as u32) },
        )
        .collect()
}
