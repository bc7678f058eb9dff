//! `X-Forwarded-Client-Cert`: the verified client's identity, for the app. What the client itself sent under
//! that name is removed first, in every spelling that an app might treat as the same.

use std::fmt::Write as _;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use hotcert_tls::Peer;
use hotcert_tls::identity::Leaf;

pub const NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// `By=<our SPIFFE ID>;Hash=<SHA-256 of the client's leaf>;Subject="…";URI=…;DNS=…`, the form
/// that Envoy made common. Bytes that are not visible ASCII are percent-encoded, so that every name has a
/// value.
pub fn value(own: &Leaf, peer: &Peer) -> Option<HeaderValue> {
    let mut parts = Vec::new();
    if let Some(id) = own.names.spiffe_id() {
        parts.push(format!("By={}", quoted(id.as_str())));
    }
    parts.push(format!("Hash={}", peer.sha256));
    parts.push(format!("Subject=\"{}\"", escaped(&peer.subject)));
    parts.extend(peer.names.uris.iter().map(|uri| format!("URI={}", quoted(uri))));
    parts.extend(peer.names.dns.iter().map(|name| format!("DNS={}", quoted(name))));
    HeaderValue::from_str(&parts.join(";")).ok()
}

/// In quotes if it contains a separator.
fn quoted(text: &str) -> String {
    match text.contains([',', ';', '=', '"', '\\', ' ']) {
        true => format!("\"{}\"", escaped(text)),
        false => escaped(text),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Removes the header as the client sent it.
pub fn remove_forged(headers: &mut HeaderMap) {
    let is_forged = |name: &HeaderName| is_spelling(name.as_str());
    if headers.keys().any(is_forged) {
        let forged: Vec<_> = headers.keys().filter(|name| is_forged(name)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }
}

/// Whether a list of header names, as in `Trailer`, contains it.
pub fn is_named_in(list: &HeaderValue) -> bool {
    String::from_utf8_lossy(list.as_bytes())
        .split(',')
        .any(|name| is_spelling(&name.trim().to_ascii_lowercase()))
}

/// CGI, its successors and what is written like them make `HTTP_X_FORWARDED_CLIENT_CERT` of `-` and `_` alike, some of
/// every sign that is neither letter nor digit.
fn is_spelling(name: &str) -> bool {
    let is_same = |(own, other): (u8, u8)| own == other || own == b'-' && !other.is_ascii_alphanumeric();
    name.len() == NAME.as_str().len() && NAME.as_str().bytes().zip(name.bytes()).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_forged_header_is_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-forwarded-client-cert",
            "x_forwarded_client_cert",
            "x-forwarded_client-cert",
            "x.forwarded.client.cert",
            "x!forwarded~client*cert",
            "x-forwarded-client.cert",
            "x-forwarded-for",
            "x-forwarded-client-certs",
            "x-forwarded-clientxcert",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("URI=spiffe://evil"));
        }
        remove_forged(&mut headers);
        let mut kept: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["x-forwarded-client-certs", "x-forwarded-clientxcert", "x-forwarded-for"]);
        let listed = |names| is_named_in(&HeaderValue::from_static(names));
        assert!(listed("a, X.Forwarded.Client.Cert") && listed("X_forwarded-client_cert") && !listed("a,b"));
    }

    #[test]
    fn separators_in_a_name_cannot_forge_a_field() {
        assert_eq!(quoted("spiffe://d/a;URI=spiffe://d/b"), "\"spiffe://d/a;URI=spiffe://d/b\"");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
        assert_eq!(quoted("spiffe://d/a"), "spiffe://d/a");
        assert_eq!(escaped("ä\r\n"), "%C3%A4%0D%0A");
    }
}
