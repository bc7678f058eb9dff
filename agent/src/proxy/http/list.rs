//! Fields that are lists (RFC 9110, 5.6.1), which may be in one field or in several.

use hyper::header::{HeaderMap, HeaderName};

/// The members, in order. Bytes: one that is not of ASCII does not hide the others.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether this is one of them.
pub fn contains(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::{CONNECTION, HeaderValue};

    use super::*;

    #[test]
    fn members_are_found_beside_what_is_not_ascii() {
        let mut headers = HeaderMap::new();
        for value in [&b"\xc4\x8d , Close"[..], b"x"] {
            headers.append(CONNECTION, HeaderValue::from_bytes(value).unwrap());
        }
        assert!(contains(&headers, &CONNECTION, "close") && contains(&headers, &CONNECTION, "X"));
        assert!(!contains(&headers, &CONNECTION, "keep-alive"));
    }
}
