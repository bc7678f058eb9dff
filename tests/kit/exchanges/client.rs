//! The client: it sends an exchange on a connection that it keeps as long as it may, and reads the answers to the letter.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::{Exchange, Request};
use crate::dialer::Dialer;
use crate::http1::{Fault, Fields, ResponseHead, Source, members};
use crate::http2::Connection;
use crate::link::Link;

/// What does not come within this does not come.
const PATIENCE: Duration = crate::DEADLINE;
/// The same for whoever has often not answered, so that a fault does not take hours to be shown.
const LITTLE_PATIENCE: Duration = Duration::from_millis(300);
const OFTEN: usize = 4;

/// What came in answer to one request.
#[derive(Clone, Debug, Default)]
pub struct Got {
    pub interim: Vec<(u16, Fields)>,
    pub head: Option<ResponseHead>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub fault: Option<Fault>,
    /// The connection takes another request.
    pub kept: bool,
}

impl Got {
    /// The connection was closed before anything came.
    pub fn is_nothing(&self) -> bool {
        let closed = matches!(self.fault, Some(Fault::Closed | Fault::Truncated | Fault::Reset));
        closed && self.head.is_none() && self.interim.is_empty()
    }
}

pub struct Client {
    address: SocketAddr,
    http1: Dialer,
    /// With ALPN, or plain.
    http2: Dialer,
    scheme: &'static str,
    kept: Option<Source<Link>>,
    kept_http2: Option<Connection<Link>>,
    /// Answers that did not come.
    timeouts: usize,
    /// The last exchange was on a connection that had carried another.
    pub reused: bool,
}

impl Client {
    pub fn new(address: SocketAddr, dialer: Dialer) -> Self {
        let scheme = if dialer.config().is_some() { "https" } else { "http" };
        Self {
            address,
            http2: dialer.clone().http2(),
            http1: dialer,
            scheme,
            kept: None,
            kept_http2: None,
            timeouts: 0,
            reused: false,
        }
    }

    /// The answers, as many as there are requests.
    pub fn run(&mut self, exchange: &Exchange, in_http2: bool) -> Vec<Got> {
        let answers = self.answers(exchange, in_http2);
        self.timeouts += answers.iter().filter(|got| got.fault == Some(Fault::Timeout)).count();
        answers
    }

    fn patience(&self) -> Duration {
        if self.timeouts < OFTEN { PATIENCE } else { LITTLE_PATIENCE }
    }

    fn answers(&mut self, exchange: &Exchange, in_http2: bool) -> Vec<Got> {
        if in_http2 {
            return exchange.requests.iter().map(|request| self.http2(request)).collect();
        }
        if let Some(mut kept) = self.kept.take() {
            self.reused = true;
            let answers = self.http1(exchange, &mut kept);
            return self.keep(kept, answers);
        }
        self.reused = false;
        match Link::open(&self.http1, self.address, self.patience()) {
            Ok(link) => {
                let mut source = Source::new(link);
                let answers = self.http1(exchange, &mut source);
                self.keep(source, answers)
            }
            Err(error) => {
                let fault = Some(Fault::Malformed(format!("no connection: {error}")));
                vec![Got { fault, ..Got::default() }; exchange.requests.len()]
            }
        }
    }

    fn keep(&mut self, source: Source<Link>, answers: Vec<Got>) -> Vec<Got> {
        self.kept = answers.last().is_some_and(|got| got.kept).then_some(source);
        answers
    }

    fn http1(&self, exchange: &Exchange, source: &mut Source<Link>) -> Vec<Got> {
        let requests = &exchange.requests;
        let mut answers: Vec<Got> = Vec::new();
        if exchange.pipelined {
            let all: Vec<u8> =
                requests.iter().flat_map(|request| [request.head(), request.content()].concat()).collect();
            // Whoever cannot write may have been answered nevertheless.
            let _ = source.stream().write_all(&all);
            let _ = source.stream().flush();
        }
        for (at, request) in requests.iter().enumerate() {
            let mut got = Got::default();
            if answers.last().is_some_and(|before| !before.kept) {
                got.fault = Some(Fault::Closed);
                answers.push(got);
                continue;
            }
            let last = at + 1 == requests.len();
            let mut sent_whole = true;
            if !exchange.pipelined {
                let first = if request.expects {
                    request.head()
                } else {
                    [request.head(), request.content()].concat()
                };
                let _ = source.stream().write_all(&first);
                let _ = source.stream().flush();
            }
            if last && exchange.half_close {
                let _ = source.stream().end();
            }
            let waits = request.expects && !exchange.pipelined;
            if let Err(fault) = read_answer(source, request, waits, &mut sent_whole, &mut got) {
                got.fault.get_or_insert(fault);
            }
            got.kept &= sent_whole && !(last && exchange.half_close);
            answers.push(got);
        }
        answers
    }

    fn http2(&mut self, request: &Request) -> Got {
        let (fields, parts) = request.http2(self.scheme);
        self.reused = self.kept_http2.is_some();
        let mut connection = match self.kept_http2.take() {
            Some(connection) => connection,
            None => {
                let link = Link::open(&self.http2, self.address, self.patience()).map_err(|_| Fault::Reset);
                match link.and_then(Connection::open) {
                    Ok(connection) => connection,
                    Err(fault) => return Got { fault: Some(fault), ..Got::default() },
                }
            }
        };
        let answer = connection.exchange(&fields, &parts);
        let of_stream = |fault: &Fault| matches!(fault, Fault::Malformed(why) if why.starts_with("reset"));
        let is_broken = answer.fault.as_ref().is_some_and(|fault| !of_stream(fault));
        if !connection.going_away && !is_broken {
            self.kept_http2 = Some(connection);
        }
        let (interim, head) = (answer.interim, answer.head);
        Got { interim, head, body: answer.body, trailers: answer.trailers, fault: answer.fault, kept: true }
    }
}

fn read_answer(
    source: &mut Source<Link>,
    request: &Request,
    waits: bool,
    sent_whole: &mut bool,
    got: &mut Got,
) -> Result<(), Fault> {
    let mut to_send = waits;
    *sent_whole = !waits;
    let head = loop {
        let head = source.response_head(request.method)?;
        if head.status >= 200 {
            break head;
        }
        if head.status == 100 && std::mem::take(&mut to_send) {
            *sent_whole = true;
            let _ = source.stream().write_all(&request.content());
            let _ = source.stream().flush();
        }
        got.interim.push((head.status, head.fields));
    };
    let (body, trailers, fault) = source.body(head.framing);
    (got.body, got.trailers) = (body, trailers);
    let says = members(&head.fields, "connection");
    let said = |what: &str| says.iter().any(|said| said == what);
    got.kept = !said("close")
        && (head.minor > 0 || said("keep-alive"))
        && head.framing != crate::http1::Framing::Close
        && (request.minor > 0 || said("keep-alive"));
    got.head = Some(head);
    fault.map_or(Ok(()), Err)
}
