//! `X-Forwarded-Client-Cert`: the verified client's identity, for the app.

use std::fmt::Write as _;

use hyper::header::{HeaderName, HeaderValue};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_a_name_cannot_forge_a_field() {
        assert_eq!(quoted("spiffe://d/a;URI=spiffe://d/b"), "\"spiffe://d/a;URI=spiffe://d/b\"");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
        assert_eq!(quoted("spiffe://d/a"), "spiffe://d/a");
        assert_eq!(escaped("ä\r\n"), "%C3%A4%0D%0A");
    }
}
