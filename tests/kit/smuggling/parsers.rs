//! What parsers that are not ours make of the bytes that a proxy sends: nginx, HAProxy, Node.js and h11. The first two
//! are proxies, and a sink behind each tells what they made of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use super::judge::Stream;
use super::sink::{Parsed, Sink};
use crate::dialer::Dialer;
use crate::haproxy::Haproxy;
use crate::http1::{Fault, Source, values};
use crate::installed;
use crate::link::Link;
use crate::nginx::{Nginx, free_addresses};
use crate::pipe::Pipe;

/// Follows what is parsed, and so shows where it ended.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";
/// Whoever still waits then has another idea of where the requests end.
const PATIENCE: Duration = crate::DEADLINE;

/// What a parser saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Request(Parsed),
    /// And nothing after it.
    Refused(u16),
    Silent,
}

pub struct Parsers {
    parsers: [(&'static str, SocketAddr); 4],
    plain: Dialer,
    _programs: (Nginx, Haproxy, Pipe, Pipe),
    _sinks: [Sink; 2],
    _folder: TempDir,
}

impl Default for Parsers {
    fn default() -> Self {
        let folder = TempDir::new().unwrap();
        let sinks = [Sink::start(None), Sink::start(None)];
        let [nginx_address, haproxy_address] = free_addresses();
        let nginx = Nginx::start(
            &folder.path().join("nginx"),
            &nginx_config(nginx_address, sinks[0].address),
            &[nginx_address],
        );
        let haproxy = Haproxy::start(
            &folder.path().join("haproxy"),
            &haproxy_config(haproxy_address, sinks[1].address),
            &[haproxy_address],
        );
        let mut node = Pipe::program(installed::lasting_node("parse.js"));
        let mut python = Pipe::program(installed::lasting_python("parse.py"));
        let address = |pipe: &mut Pipe| {
            SocketAddr::from(([127, 0, 0, 1], pipe.line()["port"].as_u64().unwrap() as u16))
        };
        let parsers = [
            ("nginx", nginx_address),
            ("HAProxy", haproxy_address),
            ("Node.js", address(&mut node)),
            ("h11", address(&mut python)),
        ];
        Self {
            parsers,
            plain: Dialer::plain(),
            _programs: (nginx, haproxy, node, python),
            _sinks: sinks,
            _folder: folder,
        }
    }
}

fn nginx_config(listen: SocketAddr, sink: SocketAddr) -> String {
    format!(
        "
    underscores_in_headers on; ignore_invalid_headers off; merge_slashes off; client_max_body_size 0;
    large_client_header_buffers 8 128k; keepalive_requests 1000000;
    upstream sink {{ server {sink}; keepalive 16; keepalive_requests 1000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection \"\";
            proxy_set_header Host $http_host; proxy_next_upstream off; proxy_buffer_size 128k; proxy_buffers 8 128k;
            proxy_pass_header X-Accel-Redirect;
        }}
    }}"
    )
}

fn haproxy_config(listen: SocketAddr, sink: SocketAddr) -> String {
    format!(
        "
global
    tune.bufsize 131072
    tune.http.maxhdr 2000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend in
    bind {listen}
    default_backend out
backend out
    server sink {sink}
"
    )
}

impl Parsers {
    /// What each makes of these bytes.
    pub fn read(&self, bytes: &[u8], methods: &[String]) -> Vec<(&'static str, Vec<Outcome>)> {
        // All at once, as each is a program of its own.
        std::thread::scope(|scope| {
            let threads = self
                .parsers
                .map(|(name, address)| (name, scope.spawn(move || self.read_by(address, bytes, methods))));
            threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap())).collect()
        })
    }

    fn read_by(&self, address: SocketAddr, bytes: &[u8], methods: &[String]) -> Vec<Outcome> {
        let mut source = Source::new(Link::open(&self.plain, address, PATIENCE).unwrap());
        let _ = source.stream().write_all(&[bytes, LAST].concat());
        let mut outcomes = Vec::new();
        loop {
            let method = methods.get(outcomes.len()).map_or("GET", String::as_str);
            let head = match source.response_head(method) {
                Ok(head) if head.status < 200 => continue,
                Ok(head) => head,
                Err(Fault::Closed | Fault::Reset | Fault::Truncated) => return outcomes,
                Err(Fault::Timeout | Fault::Malformed(_)) => {
                    outcomes.push(Outcome::Silent);
                    return outcomes;
                }
            };
            let (_, _, fault) = source.body(head.framing);
            let parsed =
                values(&head.fields, "x-sink").next().and_then(|json| serde_json::from_slice(json).ok());
            match parsed {
                Some(parsed) => outcomes.push(Outcome::Request(parsed)),
                None => outcomes.push(Outcome::Refused(head.status)),
            }
            if fault.is_some() {
                return outcomes;
            }
        }
    }

    /// The parsers that see something else in these bytes than the sink, and what. One that refuses is none.
    pub fn disagreeing(&self, stream: &Stream) -> Vec<String> {
        let expected = &stream.parsed;
        let methods: Vec<_> = expected.iter().map(|parsed| parsed.method.clone()).collect();
        let mut disagreeing = Vec::new();
        for (name, outcomes) in self.read(&stream.raw, &methods) {
            let count = expected.len() + usize::from(!stream.ends);
            // What comes after a request that ends the connection, or switches to another protocol, is nobody's.
            let read = &outcomes[..outcomes.len().min(count)];
            let is_refusal = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
            let before = read.iter().position(is_refusal).unwrap_or(read.len());
            let agrees =
                read[..before].iter().enumerate().all(|(at, outcome)| match (outcome, expected.get(at)) {
                    (Outcome::Request(parsed), Some(expected)) => parsed == expected,
                    (Outcome::Request(parsed), None) => parsed.target == "/last",
                    _ => false,
                });
            let is_whole =
                read.len() == count && (stream.ends || outcomes.len() == count) || before < read.len();
            if !agrees || !is_whole {
                disagreeing.push(format!("{name} reads {outcomes:?}"));
            }
        }
        disagreeing
    }
}
