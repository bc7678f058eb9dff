//! Where a request comes from, for the app: `X-Forwarded-For`, `-Proto` and `-Host` beside `X-Forwarded-Client-Cert`.
//! What a client says of this itself is removed, in every spelling that an app might treat as the same, unless the
//! client is trusted; of a trusted one it is kept, and the agent adds what it knows.

use std::net::IpAddr;

use hyper::header::{Entry, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;

use super::identity_header;
use hotcert_tls::identity::Leaf;
use hotcert_tls::{Peer, SanPattern};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST_ASKED_FOR: HeaderName = HeaderName::from_static("x-forwarded-host");

/// All fields in which proxies say where a request comes from, and which common frameworks believe.
const CLAIMS: [&str; 13] = [
    "forwarded",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-forwarded-for",
    "x-real-ip",
];

/// The clients whose claims are kept, by the names that their certificates must have. Without patterns, none.
#[derive(Clone, Debug, Default)]
pub struct TrustedClients(pub Vec<SanPattern>);

impl TrustedClients {
    fn include(&self, peer: Option<&Peer>) -> bool {
        peer.is_some_and(|peer| self.0.iter().any(|pattern| pattern.matches(&peer.names)))
    }
}

/// What the app is told of one client connection.
pub struct Forwarded {
    /// `None` if the client has no certificate.
    client_cert: Option<HeaderValue>,
    address: Option<HeaderValue>,
    is_trusted: bool,
}

impl Forwarded {
    pub fn new(own: &Leaf, peer: Option<&Peer>, from: IpAddr, trusted: &TrustedClients) -> Self {
        Self {
            client_cert: peer.and_then(|peer| identity_header::value(own, peer)),
            address: HeaderValue::from_str(&from.to_canonical().to_string()).ok(),
            is_trusted: trusted.include(peer),
        }
    }

    /// Writes it into the request of a client.
    pub fn write(&self, head: &mut request::Parts) {
        let host = match head.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => head.headers.get(HOST).cloned(),
        };
        let headers = &mut head.headers;
        if self.is_trusted {
            // The proxy itself writes them as they are called; other spellings are those of its clients.
            remove(headers, |name| is_claim(name) && !CLAIMS.contains(&name));
        } else {
            remove(headers, is_claim);
        }
        append(headers, FOR, self.address.as_ref(), ", ");
        append(headers, identity_header::NAME, self.client_cert.as_ref(), ",");
        let or_insert = |headers: &mut HeaderMap, name, value| {
            headers.entry(name).or_insert(value);
        };
        or_insert(headers, PROTO, HeaderValue::from_static("https"));
        if let Some(host) = host {
            or_insert(headers, HOST_ASKED_FOR, host);
        }
    }
}

/// Adds a value to a list, which may be in several fields and is in one afterwards.
fn append(headers: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>, separator: &str) {
    let Some(value) = value else { return };
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value.clone());
        }
        Entry::Occupied(mut entry) => {
            let said = entry.iter().map(HeaderValue::as_bytes);
            let list: Vec<&[u8]> = said.chain([value.as_bytes()]).filter(|value| !value.is_empty()).collect();
            // Made of values, it is one.
            let list = HeaderValue::from_bytes(&list.join(separator.as_bytes()));
            entry.insert(list.unwrap_or_else(|_| value.clone()));
        }
    }
}

/// Removes all that a client says of where a request comes from, as from its trailers.
pub fn remove_claims(headers: &mut HeaderMap) {
    remove(headers, is_claim);
}

/// Removes an identity alone: what else a probe says is for the app, which may want to hear that it came by HTTPS.
pub fn remove_identity(headers: &mut HeaderMap) {
    remove(headers, |name| is_spelling(identity_header::NAME.as_str(), name));
}

fn remove(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| is_removed(name.as_str())) {
        let names: Vec<_> = headers.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// Whether a list of header names, as in `Trailer`, contains such a claim.
pub fn is_named_in(list: &HeaderValue) -> bool {
    String::from_utf8_lossy(list.as_bytes())
        .split(',')
        .any(|name| is_claim(&name.trim().to_ascii_lowercase()))
}

fn is_claim(name: &str) -> bool {
    matches!(name.as_bytes(), [b'f' | b'x', ..]) && CLAIMS.iter().any(|claim| is_spelling(claim, name))
}

/// CGI, its successors and what is written like them make `HTTP_X_FORWARDED_FOR` of `-` and `_` alike, some of every sign
/// that is neither letter nor digit.
fn is_spelling(claim: &str, name: &str) -> bool {
    let is_same = |(own, other): (u8, u8)| own == other || own == b'-' && !other.is_ascii_alphanumeric();
    name.len() == claim.len() && claim.bytes().zip(name.bytes()).all(is_same)
}

#[cfg(test)]
mod tests;
