//! Whether what was forwarded is what was sent.

use super::reference::{End, Reference, Sent};
use super::sink::{Forwarded, Parsed, digest, latin1};
use crate::http1::{RequestHead, members};

/// Fields that a proxy adds or writes anew; docs/http.md names those of the agent.
const OF_PROXIES: [&str; 17] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "hotcert-hops",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "cookie",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
    "via",
    "expect",
];

/// What is wrong with it, if anything is.
pub fn faults(reference: &Reference, forwarded: &[Forwarded], is_inbound: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut rest = reference.requests.iter();
    for one in forwarded {
        let Some(head) = &one.head else {
            let fault = one.fault.as_ref().map_or(String::new(), ToString::to_string);
            faults.push(format!("forwarded bytes that are no request: {fault}: {}", one.raw.escape_ascii()));
            continue;
        };
        // Nobody may be told by a client who the client is. Outbound, that is for the server's agent to see to.
        for (name, value) in head.fields.iter().chain(&one.trailers) {
            if is_inbound && is_claim(name) && latin1(value).contains("evil") {
                faults.push(format!("forwarded the claim {name}: {}", value.escape_ascii()));
            }
        }
        // Of two that look the same, the one that may be forwarded.
        let wanted = rest.clone().position(|sent| same(sent, one, is_inbound) && !sent.refuse);
        let wanted = wanted.or_else(|| rest.clone().position(|sent| same(sent, one, is_inbound)));
        match wanted.and_then(|at| rest.nth(at)) {
            None => {
                faults.push(format!("forwarded what was not sent, or not so: {}", one.raw.escape_ascii()))
            }
            Some(sent) if sent.refuse => {
                faults.push(format!("forwarded what has to be refused: {}", one.raw.escape_ascii()))
            }
            Some(sent) => faults.extend(other_fields(sent, one)),
        }
        if let Some(fault) = &one.fault
            && matches!(fault, crate::http1::Fault::Malformed(_))
        {
            faults.push(format!("forwarded a body that is {fault}: {}", one.raw.escape_ascii()));
        }
    }
    faults
}

fn is_claim(name: &str) -> bool {
    let letters: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    letters == "x-forwarded-client-cert"
}

fn same(sent: &Sent, one: &Forwarded, is_inbound: bool) -> bool {
    let Some(head) = &one.head else { return false };
    let (authority, target) = sent.origin();
    let is_whole = one.fault.is_none();
    let body = if is_whole {
        !sent.truncated && one.body == sent.body
    } else {
        sent.body.starts_with(&one.body) || sent.truncated
    };
    let hosts: Vec<_> = crate::http1::values(&head.fields, "host").collect();
    let host = match (authority, crate::http1::values(&sent.fields, "host").next()) {
        _ if !is_inbound => true,
        (Some(authority), _) => hosts == [&authority[..]],
        (None, Some(host)) => hosts == [host],
        // Whatever the proxy names.
        (None, None) => hosts.len() == 1,
    };
    head.method == sent.method && head.target == target && body && host
}

impl Sent {
    /// The host that the target names, and the target without it.
    fn origin(&self) -> (Option<Vec<u8>>, Vec<u8>) {
        let colon = self.target.windows(3).position(|part| part == b"://");
        let colon = colon.filter(|at| *at > 0 && self.target[..*at].iter().all(u8::is_ascii_alphabetic));
        let Some(rest) = colon.and_then(|at| self.target.get(at + 3..)) else {
            return (None, self.target.clone());
        };
        let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let slash: &[u8] = match path {
            [b'/', ..] => b"",
            // The asterisk form of a proxy (RFC 9112, 3.2.4).
            [] if self.method == "OPTIONS" => return (Some(authority.to_vec()), b"*".to_vec()),
            _ => b"/",
        };
        (Some(authority.to_vec()), [slash, path].concat())
    }
}

/// Fields that came though nobody sent them so.
fn other_fields(sent: &Sent, one: &Forwarded) -> Vec<String> {
    let Some(head) = &one.head else { return Vec::new() };
    let is_sent = |name: &str, value: &[u8]| {
        // Where the spaces of a folded line are is nobody's business.
        let words = |value: &[u8]| {
            value
                .split(|byte| b" \t".contains(byte))
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        sent.fields.iter().any(|(is, other)| is == name && words(other) == words(value))
    };
    let added =
        head.fields.iter().filter(|(name, value)| !OF_PROXIES.contains(&&name[..]) && !is_sent(name, value));
    added
        .map(|(name, value)| format!("forwarded a field that was not sent: {name}: {}", value.escape_ascii()))
        .collect()
}

/// Whether a request that is to the letter was neither forwarded nor answered.
pub fn lost(reference: &Reference, forwarded: &[Forwarded], refusals: usize) -> Option<String> {
    let complete = forwarded.iter().filter(|one| one.fault.is_none()).count();
    (reference.is_strict() && complete + refusals < reference.requests.len() && refusals == 0).then(|| {
        format!("{} requests were sent, {complete} forwarded, and none was refused", reference.requests.len())
    })
}

/// Whether a client that sent this has to be answered or its connection closed.
pub fn has_to_end(reference: &Reference) -> bool {
    matches!(reference.end, End::Malformed | End::Closes)
}

/// The whole requests of one connection of a proxy.
pub struct Stream {
    pub raw: Vec<u8>,
    pub parsed: Vec<Parsed>,
    /// With the last of them the connection ends, or goes on in another protocol.
    pub ends: bool,
}

/// What was forwarded on each connection of the proxy, as far as it is whole. What follows a request that ends its
/// connection, or switches, is read apart.
pub fn by_connection(forwarded: &[Forwarded]) -> Vec<Stream> {
    let mut connections: Vec<_> = forwarded.iter().map(|one| one.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    let mut streams = Vec::new();
    for connection in connections {
        let of = forwarded.iter().filter(|one| one.connection == connection);
        let whole: Vec<_> = of.take_while(|one| one.fault.is_none()).collect();
        streams.extend(whole.split_inclusive(|one| one.head.as_ref().is_some_and(ends)).map(stream));
    }
    streams
}

fn ends(head: &RequestHead) -> bool {
    members(&head.fields, "connection").iter().any(|member| member == "close" || member == "upgrade")
}

fn stream(whole: &[&Forwarded]) -> Stream {
    let parsed = whole.iter().filter_map(|one| one.head.as_ref().map(|head| Parsed::of(head, &one.body)));
    Stream {
        raw: whole.iter().flat_map(|one| one.raw.clone()).collect(),
        parsed: parsed.collect(),
        ends: whole.last().and_then(|one| one.head.as_ref()).is_some_and(ends),
    }
}

/// For people.
pub fn shown(forwarded: &[Forwarded]) -> String {
    let one = |one: &Forwarded| {
        let fault = one.fault.as_ref().map_or(String::new(), |fault| format!(" ({fault})"));
        format!(
            "    forwarded on {}{fault}: {} [body {}]\n",
            one.connection,
            one.raw.escape_ascii(),
            digest(&one.body)
        )
    };
    forwarded.iter().map(one).collect()
}
