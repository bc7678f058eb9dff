//! The app: it reads what comes to the letter, records it, and answers as the exchange says.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::exchange::{Exchange, Response, field, put_fields};
use crate::http1::{Fault, Fields, Framing, RequestHead, Source, members, values};

/// So long is read what a client still sends before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// The field that says which exchange a request is of, and which of its requests.
pub const TAG: &str = "x-exchange";
const MALFORMED: &[u8] =
    b"HTTP/1.1 400 Malformed\r\nx-app: none\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: RequestHead,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub fault: Option<Fault>,
    /// Answered before its body was read.
    pub early: bool,
}

/// What an app saw of an exchange.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Each request of the script, if it came.
    pub seen: Vec<Option<Seen>>,
    /// What came beside.
    pub beside: Vec<String>,
}

#[derive(Default)]
struct State {
    index: u64,
    first: usize,
    script: Vec<Response>,
    record: Record,
}

impl State {
    /// The place in the script of a request that says which it is.
    fn place(&mut self, head: &RequestHead) -> Option<usize> {
        let tag = String::from_utf8_lossy(values(&head.fields, TAG).next()?).into_owned();
        let (index, number) = tag.split_once('.')?;
        // What comes late, of an exchange that was broken off, is none of this one.
        if index.parse() != Ok(self.index) {
            return None;
        }
        let place = number.parse::<usize>().ok()?.checked_sub(self.first);
        let place = place.filter(|place| self.record.seen.get(*place).is_some_and(Option::is_none));
        if place.is_none() {
            self.record.beside.push(format!("request {number} again"));
        }
        place
    }
}

pub struct App {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Default for App {
    fn default() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let of_listener = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&of_listener);
                std::thread::spawn(move || stream.map(|stream| serve(stream, &state)));
            }
        });
        Self { address, state }
    }
}

impl App {
    /// From now on its requests are answered as it says.
    pub fn begin(&self, exchange: &Exchange) {
        let script: Vec<_> = exchange.requests.iter().map(|request| request.response.clone()).collect();
        let record = Record { seen: vec![None; script.len()], ..Record::default() };
        *self.state.lock().unwrap() = State { index: exchange.index, first: exchange.first, script, record };
    }

    /// What came since.
    pub fn take(&self) -> Record {
        std::mem::take(&mut self.state.lock().unwrap().record)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let Ok(mut out) = stream.try_clone() else { return };
    let _ = out.set_nodelay(true);
    let mut source = Source::new(stream);
    while serve_one(&mut source, &mut out, state) {}
    let _ = out.shutdown(Shutdown::Write);
    let _ = out.set_read_timeout(Some(LINGER));
    let mut rest = [0; 1 << 14];
    while let Ok(1..) = out.read(&mut rest) {}
}

/// Whether another request may follow.
fn serve_one(source: &mut Source<TcpStream>, out: &mut TcpStream, state: &Mutex<State>) -> bool {
    let head = match source.request_head() {
        Ok(head) => head,
        Err(Fault::Closed | Fault::Reset) => return false,
        Err(fault) => {
            state.lock().unwrap().record.beside.push(fault.to_string());
            let _ = out.write_all(MALFORMED);
            return false;
        }
    };
    let (place, response) = {
        let mut state = state.lock().unwrap();
        let place = state.place(&head);
        let response = place.map_or_else(unexpected, |place| state.script[place].clone());
        let (head, early) = (head.clone(), response.early);
        let seen = Seen { head, body: Vec::new(), trailers: Fields::new(), fault: None, early };
        place.into_iter().for_each(|place| state.record.seen[place] = Some(seen.clone()));
        (place, response)
    };
    let expects = head.minor > 0 && members(&head.fields, "expect").iter().any(|what| what == "100-continue");
    let kept = if response.early {
        let kept = respond(&head, &response, out);
        // Whoever was refused does not send what it was not asked for.
        kept && !expects && source.body(head.framing).2.is_none()
    } else {
        if expects && head.framing != Framing::None {
            let _ = out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let (body, trailers, fault) = source.body(head.framing);
        let broken = fault.is_some();
        // Another exchange may have begun meanwhile.
        if let Some(place) = place
            && let Some(Some(seen)) = state.lock().unwrap().record.seen.get_mut(place)
            && seen.head.target == head.target
        {
            (seen.body, seen.trailers, seen.fault) = (body, trailers, fault);
        }
        !broken && respond(&head, &response, out)
    };
    kept && !response.ends_connection(head.minor)
}

/// Whether the connection may go on.
fn respond(head: &RequestHead, response: &Response, out: &mut TcpStream) -> bool {
    let says = members(&head.fields, "connection");
    let asks = |what: &str| says.iter().any(|said| said == what);
    // An app of HTTP/1.0 does not know how to go on.
    let goes_on = response.minor > 0
        && !asks("close")
        && (head.minor > 0 || asks("keep-alive"))
        && !response.ends_connection(head.minor);
    let connection = match (goes_on, head.minor) {
        (true, 0) => Some("keep-alive"),
        (false, _) if response.minor > 0 => Some("close"),
        _ => None,
    };
    let mut bytes = Vec::new();
    if head.minor > 0 {
        for (status, fields) in &response.interim {
            bytes.extend(format!("HTTP/1.1 {status} Interim\r\n").bytes());
            put_fields(fields, &mut bytes);
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes.extend(response.bytes(&head.method, head.minor, connection));
    out.write_all(&bytes).is_ok() && goes_on
}

/// To a request that nobody sent.
fn unexpected() -> Response {
    Response {
        interim: Vec::new(),
        minor: 1,
        status: 500,
        reason: b"Nobody Sent This",
        fields: vec![field("x-app", "unexpected")],
        framing: super::exchange::Framing::Length,
        length: 0,
        trailers: Vec::new(),
        early: false,
        broken: false,
    }
}
