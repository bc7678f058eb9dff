//! `X-Forwarded-Client-Cert`: the verified client's identity, told to the app. Whatever the client
//! sent under that name is removed first, in every spelling an app might fold into it.

use std::fmt::Write as _;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::tls::identity::Leaf;
use crate::tls::peer::Peer;

pub const NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// `By=<our SPIFFE ID>;Hash=<SHA-256 of the client's leaf>;Subject="…";URI=…;DNS=…`, the form that
/// Envoy made common. What is not visible ASCII is percent-encoded, so that there always is one.
pub fn value(own: &Leaf, peer: &Peer) -> Option<HeaderValue> {
    let mut parts = Vec::new();
    if let Some(id) = own.names.spiffe_id() {
        parts.push(format!("By={}", quoted(id)));
    }
    parts.push(format!("Hash={}", peer.sha256));
    parts.push(format!("Subject=\"{}\"", escaped(&peer.subject)));
    parts.extend(peer.names.uris.iter().map(|uri| format!("URI={}", quoted(uri))));
    parts.extend(peer.names.dns.iter().map(|name| format!("DNS={}", quoted(name))));
    HeaderValue::from_str(&parts.join(";")).ok()
}

/// Plain where it can be; in quotes where a separator would be misread.
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

/// CGI and its heirs do not tell `-` from `_`.
pub fn remove_claims(headers: &mut HeaderMap) {
    let spells_it = |name: &HeaderName| name.as_str().replace('_', "-") == NAME.as_str();
    if headers.keys().any(spells_it) {
        let claims: Vec<_> = headers.keys().filter(|name| spells_it(name)).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_claim_is_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-forwarded-client-cert",
            "x_forwarded_client_cert",
            "x-forwarded_client-cert",
            "x-forwarded-for",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("URI=spiffe://evil"));
        }
        remove_claims(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-forwarded-for"]);
    }

    #[test]
    fn separators_in_a_name_cannot_forge_a_field() {
        assert_eq!(quoted("spiffe://d/a;URI=spiffe://d/b"), "\"spiffe://d/a;URI=spiffe://d/b\"");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
        assert_eq!(quoted("spiffe://d/a"), "spiffe://d/a");
        assert_eq!(escaped("ä\r\n"), "%C3%A4%0D%0A");
    }
}
