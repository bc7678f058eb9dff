//! What the app and the client saw of an exchange, as named facts that can be compared. What documents say is changed
//! on the way is not among the facts, or is brought into one form; all of that is here, and nowhere else.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use super::app::{Record, Seen};
use super::client::Got;
use super::exchange::{Exchange, Request};
use crate::http1::{Fields, members, values};

/// Between the client and the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    Nothing,
    Agent,
    TwoAgents,
    Nginx,
}

/// Of requests and responses: fields of one hop (RFC 9110, 7.6.1), and those that say where a message ends, which each
/// hop says anew (RFC 9112, 6).
const OF_ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
];
/// What a proxy says of the client to the app, whatever the client said of itself (docs/http.md), and what is not for the
/// app: how often a request passed an agent, and how the body is asked for.
const OF_THE_CLIENT: [&str; 9] = [
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
    "hotcert-hops",
    "expect",
];
/// Of the outbound side, which speaks to the server for the app.
const OF_THE_PROXY: [&str; 3] = ["proxy-authorization", "proxy-authenticate", "proxy-authentication-info"];
/// The end of one hop that must not reach another.
const LEAKS: [&str; 4] = ["keep-alive", "proxy-connection", "upgrade", "http2-settings"];
/// These define a message, whatever `Connection` lists (RFC 9110, 7.6.1).
const NEVER_LISTED: [&str; 3] = ["host", "content-length", "cache-control"];

/// By name: "app 1 method", "client 2 field set-cookie".
pub type Facts = BTreeMap<String, String>;

#[derive(Clone, Debug, Default)]
pub struct View {
    pub facts: Facts,
    /// The requests, from 0, that the app did not answer.
    pub refused: BTreeMap<usize, Refused>,
    /// The last answer left the connection open.
    pub kept: bool,
}

/// What came instead of an answer of the app.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Of whoever answered; 0 if nobody did.
    pub status: u16,
    pub fault: String,
}

impl View {
    pub fn of(exchange: &Exchange, between: Between, record: &Record, got: &[Got]) -> Self {
        let mut view = Self { kept: got.last().is_some_and(|got| got.kept), ..Self::default() };
        if !record.beside.is_empty() {
            view.facts.insert("app beside".into(), record.beside.join(", "));
        }
        for (at, request) in exchange.requests.iter().enumerate() {
            if let Some(seen) = &record.seen[at] {
                view.app(exchange.first + at + 1, request, between, seen);
            }
            let Some(got) = got.get(at) else { continue };
            let by_app = got.head.as_ref().is_some_and(|head| values(&head.fields, "x-app").next().is_some());
            if !by_app || record.seen[at].is_none() {
                let fault = got.fault.as_ref().map_or(String::new(), ToString::to_string);
                view.refused.insert(
                    exchange.first + at,
                    Refused { status: got.head.as_ref().map_or(0, |head| head.status), fault },
                );
            }
            view.client(exchange.first + at + 1, exchange, request, between, got);
        }
        view
    }

    /// What was seen of the requests that follow.
    pub fn add(&mut self, other: Self) {
        self.facts.extend(other.facts);
        self.refused.extend(other.refused);
        self.kept = other.kept;
    }

    fn put(&mut self, side: &str, at: usize, what: &str, value: impl Into<String>) {
        self.facts.insert(format!("{side} {at} {what}"), value.into());
    }

    fn app(&mut self, at: usize, request: &Request, between: Between, seen: &Seen) {
        let head = &seen.head;
        let (authority, target) = origin_form(&head.target);
        self.put("app", at, "method", head.method.clone());
        self.put("app", at, "target", target.escape_ascii().to_string());
        // A proxy speaks its own version (RFC 9110, 2.5).
        if between != Between::Nothing && head.minor == 0 {
            self.put("app", at, "version", "1.0");
        }
        let hosts: Vec<_> =
            values(&head.fields, "host").map(|host| host.escape_ascii().to_string()).collect();
        let host = match (authority, &hosts[..]) {
            // The outbound side names the server's own.
            _ if between == Between::TwoAgents => "whatever the route says".into(),
            // A client of HTTP/1.0 need not name one, and a request of HTTP/1.1 must.
            (None, _) if request.host.is_none() => "whatever there is".into(),
            (Some(authority), _) => authority.escape_ascii().to_string(),
            (None, hosts) => hosts.join(" and "),
        };
        self.put("app", at, "host", host);
        if head.minor > 0 && hosts.len() != 1 {
            self.put("app", at, "hosts", format!("{} in HTTP/1.1", hosts.len()));
        }
        let listed =
            if between == Between::Nothing { members(&head.fields, "connection") } else { Vec::new() };
        let mut skipped = listed;
        skipped.retain(|name| !NEVER_LISTED.contains(&&name[..]));
        skipped.extend(["host"].iter().chain(&OF_ONE_HOP).chain(&OF_THE_CLIENT).map(ToString::to_string));
        self.fields(("app", at, "field"), between, &head.fields, &skipped);
        self.leaks("app", at, between, &head.fields);
        if !seen.early {
            self.put("app", at, "body", digest(&seen.body));
            self.fields(("app", at, "trailer"), between, &seen.trailers, &[]);
            if let Some(fault) = &seen.fault {
                self.put("app", at, "fault", fault.to_string());
            }
        }
    }

    fn client(&mut self, at: usize, exchange: &Exchange, request: &Request, between: Between, got: &Got) {
        let continued = got.interim.iter().any(|(status, _)| *status == 100);
        if request.expects {
            self.put("client", at, "asked to go on", continued.to_string());
        }
        let interim = got.interim.iter().filter(|(status, _)| *status != 100 || !request.expects);
        let interim: Vec<_> = interim.map(|(status, fields)| format!("{status} {}", shown(fields))).collect();
        if !interim.is_empty() {
            self.put("client", at, "interim", interim.join("; "));
        }
        if got.fault.is_some() {
            // How it was broken off is the protocol's, that it was is not.
            self.put("client", at, "fault", "broken off");
        }
        let Some(head) = &got.head else { return };
        self.put("client", at, "status", head.status.to_string());
        if between != Between::Nothing && head.minor < request.minor {
            self.put("client", at, "version", format!("1.{}", head.minor));
        }
        let mut skipped =
            if between == Between::Nothing { members(&head.fields, "connection") } else { Vec::new() };
        skipped.retain(|name| !NEVER_LISTED.contains(&&name[..]));
        skipped.extend(OF_ONE_HOP.iter().map(ToString::to_string));
        // A recipient with a clock adds it (RFC 9110, 6.6.1).
        if !request.response.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            skipped.push("date".into());
        }
        self.fields(("client", at, "field"), between, &head.fields, &skipped);
        if !exchange.http2 {
            self.leaks("client", at, between, &head.fields);
        }
        // Here it is what a GET would have got.
        if request.method == "HEAD" || head.status == 304 {
            // The same several times is that (RFC 9110, 8.6).
            let lengths = members(&head.fields, "content-length");
            if let Some(length) = lengths.first() {
                self.put("client", at, "length", length.to_string());
            }
        }
        if got.fault.is_none() {
            self.put("client", at, "body", digest(&got.body));
            self.fields(("client", at, "trailer"), between, &got.trailers, &[]);
        }
    }

    /// Each name with its values in order; the order between names says nothing (RFC 9110, 5.3).
    fn fields(
        &mut self,
        (side, at, kind): (&str, usize, &str),
        between: Between,
        fields: &Fields,
        skipped: &[String],
    ) {
        let mut by_name = BTreeMap::<&str, Vec<String>>::new();
        for (name, value) in fields {
            let of_proxy = between == Between::TwoAgents && OF_THE_PROXY.contains(&&name[..]);
            if !of_proxy && !skipped.contains(name) {
                by_name.entry(name).or_default().push(brief(value));
            }
        }
        for (name, values) in by_name {
            // Of several, HTTP/2 makes one and one several (RFC 9113, 8.2.3).
            let between = if name == "cookie" { "; " } else { " | " };
            self.put(side, at, &format!("{kind} {name}"), values.join(between));
        }
    }

    fn leaks(&mut self, side: &str, at: usize, between: Between, fields: &Fields) {
        let te = values(fields, "te").find(|value| !value.eq_ignore_ascii_case(b"trailers"));
        let leaked = LEAKS.iter().copied().filter(|name| values(fields, name).next().is_some());
        let leaked: Vec<_> = leaked.chain(te.map(|_| "te")).collect();
        if between != Between::Nothing && !leaked.is_empty() {
            self.put(side, at, "fields of another hop", leaked.join(", "));
        }
    }
}

/// The absolute form names the host itself (RFC 9112, 3.2.2).
fn origin_form(target: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
    let Some(rest) = target.strip_prefix(b"http://") else { return (None, target.to_vec()) };
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    (Some(authority.to_vec()), [slash, path].concat())
}

/// Quick, as there are many: who would change a body does not know of it.
fn digest(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("{} bytes, {:016x}", body.len(), hasher.finish())
}

fn brief(value: &[u8]) -> String {
    if value.len() <= 300 { value.escape_ascii().to_string() } else { digest(value) }
}

fn shown(fields: &Fields) -> String {
    let mut shown: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
    shown.sort();
    shown.join(", ")
}
