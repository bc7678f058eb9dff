//! Requests that parsers disagree about, through both proxies: what comes out is what was sent, or it was refused, and
//! nginx, HAProxy, Node.js and h11 read the same in it.

pub mod input;
pub mod judge;
pub mod mutate;
pub mod parsers;
pub mod reference;
pub mod sink;

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::agent::{Agent, Launch};
use crate::client::SERVER;
use crate::dialer::{Dialer, Group};
use crate::http1::{Fault, Framing, Source, values};
use crate::http2::Connection;
use crate::link::Link;
use crate::pki::{Pki, dns};
use crate::volume::Volume;
use input::{Http2Request, Input, SINK};
use parsers::Parsers;
use reference::{End, Reference};
use sink::Sink;

const FORWARD_PROXY: &str = "forward proxy";
/// Follows every input, so that it shows where the input ended and that the connection ends.
const LAST: &str = "GET /end HTTP/1.1\r\nHost: end.test\r\nConnection: close\r\n\r\n";
/// The same for a forward proxy.
const LAST_THROUGH_PROXY: &str =
    "GET http://{sink}/end HTTP/1.1\r\nHost: {sink}\r\nConnection: close\r\n\r\n";
/// Who has to answer does so within this.
const PATIENCE: Duration = crate::DEADLINE;
/// Who waits for more is not waited for.
const QUIET: Duration = Duration::from_millis(25);
const LITTLE: Duration = Duration::from_millis(100);

/// The inputs of the corpus, each with the file and line that it is in.
pub fn corpus() -> Vec<(String, Input)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("smuggling/corpus");
    let mut all = Vec::new();
    for name in ["http1", "http2", "found"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        all.extend(input::corpus(&text).into_iter().map(|(at, input)| (format!("{name}:{at}"), input)));
    }
    all
}

/// One way through an agent to a sink.
struct Way {
    name: &'static str,
    address: SocketAddr,
    http1: Dialer,
    http2: Dialer,
    sink: Sink,
    /// What the sink is called by those who need its address.
    sink_name: String,
    /// Else the host is the route's.
    is_inbound: bool,
    last: &'static str,
}

pub struct Proxies {
    ways: [Way; 3],
    parsers: Parsers,
    /// What parsers have read already.
    read: HashSet<Vec<u8>>,
    agents: [Agent; 2],
    _volumes: [Volume; 2],
    _pki: Pki,
}

/// What came of an input on one way.
#[derive(Default)]
struct Passed {
    /// Statuses of those who are not the sink.
    refusals: usize,
    /// The connection was closed, or reset.
    ended: bool,
    text: String,
}

impl Default for Proxies {
    fn default() -> Self {
        let pki = Pki::default();
        let (server, caller) = (pki.volume(SERVER), pki.volume("storefront"));
        server.publish(&pki.leaf(SERVER), pki.roots());
        caller.publish(&pki.leaf("storefront"), pki.roots());
        let leaf = pki.leaf(SERVER);
        let (behind, route, named) = (Sink::start(None), Sink::start(Some(&leaf)), Sink::start(Some(&leaf)));
        let inbound = Launch::new(&server.path).inbound("http:", behind.address).ready();
        let outbound = Launch::new(&caller.path)
            .outbound("http:", format!("{}#{}", route.address, dns(SERVER)))
            .http_proxy()
            .ready();
        let mtls = Dialer::new(&pki.leaf("storefront"), Group::X25519).unwrap();
        let way = |name, address, dialer: Dialer, sink: Sink, last| {
            let sink_name = format!("localhost:{}", sink.address.port());
            let http2 = dialer.clone().http2();
            Way { name, address, http1: dialer, http2, sink, sink_name, is_inbound: name == "inbound", last }
        };
        let ways = [
            way("inbound", inbound.address("inbound"), mtls, behind, LAST),
            way("outbound", outbound.address("outbound"), Dialer::plain(), route, LAST),
            way(FORWARD_PROXY, outbound.address("http-proxy"), Dialer::plain(), named, LAST_THROUGH_PROXY),
        ];
        Self {
            ways,
            parsers: Parsers::default(),
            read: HashSet::new(),
            agents: [inbound, outbound],
            _volumes: [server, caller],
            _pki: pki,
        }
    }
}

impl Proxies {
    /// What is wrong with what became of it, on any way. What is wrong once is tried again, as machines are busy.
    pub fn faults(&mut self, input: &Input) -> Vec<String> {
        let mut faults = Vec::new();
        for at in 0..self.ways.len() {
            // A forward proxy is for those who name a server.
            if self.ways[at].name == FORWARD_PROXY && !input.names_sink() {
                continue;
            }
            if !self.faults_on(at, input).is_empty() {
                std::thread::sleep(LITTLE);
                self.ways[at].sink.take(LITTLE);
                faults.extend(self.faults_on(at, input));
            }
        }
        faults
    }

    fn faults_on(&mut self, at: usize, input: &Input) -> Vec<String> {
        let way = &self.ways[at];
        let sink = if way.name == FORWARD_PROXY { way.sink_name.as_str() } else { "sink.test" };
        let input = input.to(sink);
        let (reference, passed, forwarded) = match input {
            Input::Http1(bytes) => {
                let bytes = [bytes, way.last.replace(SINK, sink).into_bytes()].concat();
                let reference = reference::http1(&bytes, way.name == FORWARD_PROXY);
                if reference.end == End::Tunnel {
                    return Vec::new();
                }
                let passed = way.send(&bytes, &reference);
                let forwarded = way.sink.take(LITTLE);
                (reference, passed, forwarded)
            }
            Input::Http2(request) => {
                let sent = reference::http2(&request);
                let reference = Reference { requests: sent.into_iter().collect(), end: End::Clean };
                let passed = way.send_http2(&request);
                let forwarded = way.sink.take(LITTLE);
                (reference, passed, forwarded)
            }
        };
        let mut faults = judge::faults(&reference, &forwarded, way.is_inbound);
        faults.extend(judge::lost(&reference, &forwarded, passed.refusals));
        if judge::has_to_end(&reference) && !passed.ended {
            faults.push("the connection was not closed".into());
        }
        for stream in judge::by_connection(&forwarded) {
            if !stream.raw.is_empty() && self.read.insert(stream.raw.clone()) {
                let disagreeing = self.parsers.disagreeing(&stream);
                if !disagreeing.is_empty() {
                    // To be read again when it is tried again.
                    self.read.remove(&stream.raw);
                }
                faults.extend(disagreeing);
            }
        }
        let mut faults: Vec<_> = faults.into_iter().map(|fault| format!("{}: {fault}\n", way.name)).collect();
        if let Some(last) = faults.last_mut() {
            *last += &format!("    {}\n{}", passed.text, judge::shown(&forwarded));
        }
        faults
    }

    /// Whether both agents still serve.
    pub fn are_alive(&self) -> bool {
        self.agents.iter().all(|agent| agent.admin("/readyz").status == 200)
    }
}

impl Way {
    fn send(&self, bytes: &[u8], reference: &Reference) -> Passed {
        let waits = reference.end == End::Truncated;
        let link = Link::open(&self.http1, self.address, if waits { QUIET } else { PATIENCE });
        let mut source = Source::new(link.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
        let (mut passed, mut at) = (Passed::default(), 0);
        let _ = source.stream().write_all(bytes);
        let _ = source.stream().flush();
        let mut gave_up = false;
        loop {
            let method = reference.requests.get(at).map_or("GET", |sent| sent.method.as_str());
            let result = source.response_head(method).and_then(|head| {
                let (_, _, fault) = source.body(head.framing);
                fault.map_or(Ok(head), Err)
            });
            match result {
                Ok(head) if head.status < 200 => {}
                Ok(head) => {
                    at += 1;
                    passed.text += &format!("answered {} ", head.status);
                    passed.refusals += usize::from(values(&head.fields, "x-sink").next().is_none());
                }
                Err(Fault::Timeout) if waits && !gave_up => {
                    gave_up = true;
                    let _ = source.stream().end();
                    let _ = source.stream().set_patience(LITTLE);
                }
                Err(fault) => {
                    // After an answer to what may have been HEAD there may be content that no HEAD has.
                    let read_on = matches!(fault, Fault::Malformed(_)) && passed.refusals > 0;
                    passed.ended = matches!(fault, Fault::Closed | Fault::Reset | Fault::Truncated)
                        || read_on && source.body(Framing::Close).2.is_none();
                    passed.text += &fault.to_string();
                    return passed;
                }
            }
        }
    }

    fn send_http2(&self, request: &Http2Request) -> Passed {
        let link = Link::open(&self.http2, self.address, PATIENCE).unwrap();
        let Ok(mut connection) = Connection::open(link) else { return Passed::default() };
        let answer = connection.exchange(&request.fields, &request.parts);
        let status = answer.head.as_ref().map_or(0, |head| head.status);
        let by_sink =
            answer.head.as_ref().is_some_and(|head| values(&head.fields, "x-sink").next().is_some());
        let fault = answer.fault.map_or(String::new(), |fault| fault.to_string());
        Passed { refusals: usize::from(!by_sink), ended: true, text: format!("answered {status} {fault}") }
    }
}
