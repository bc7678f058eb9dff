//! The target of a request. Clients send characters that RFC 3986 does not allow (`"`, `{`, `|`, bytes beyond ASCII) and
//! servers take them, so they reach the app as they came. In HTTP/2, and wherever the target is looked at, they are
//! percent-encoded.

use bytes::Bytes;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Uri};

use super::Malformed;

/// The path and query as they came, in the extensions of a request whose URI cannot have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTarget(pub Bytes);

/// The URI of a request, and the path and query as they came if they are not what the URI has.
pub fn parse(method: &Method, target: Bytes) -> Result<(Uri, Option<RawTarget>), Malformed> {
    if !target.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..)) {
        return Err(Malformed::Target);
    }
    let path_begins = match target.first() {
        Some(b'/') => 0,
        Some(b'*') if target.len() == 1 => return Ok((Uri::from_static("*"), None)),
        Some(b'*') => return Err(Malformed::Target),
        // Also of other methods, so that what refuses it can say so.
        _ if *method == Method::CONNECT || !is_absolute(&target) => {
            return Ok((Uri::from(authority(target)?), None));
        }
        _ => end_of_authority(&target),
    };
    let (path, raw) = match target.slice(path_begins..) {
        // RFC 9112, 3.2.4.
        empty if empty.is_empty() && *method == Method::OPTIONS => (PathAndQuery::from_static("*"), None),
        path => path_and_query(path)?,
    };
    if path_begins == 0 {
        return Ok((Uri::from(path), raw));
    }
    let prefix = std::str::from_utf8(&target[..path_begins]).map_err(|_| Malformed::Target)?;
    let (scheme, authority) = prefix.split_once("://").ok_or(Malformed::Target)?;
    let scheme: Scheme = scheme.parse().map_err(|_| Malformed::Target)?;
    let authority: Authority = authority.parse().map_err(|_| Malformed::Target)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    Ok((uri.map_err(|_| Malformed::Target)?, raw))
}

fn authority(target: Bytes) -> Result<Authority, Malformed> {
    Authority::from_maybe_shared(target).map_err(|_| Malformed::Target)
}

/// Whether it begins as a URL does. What is not is HOST:PORT.
fn is_absolute(target: &[u8]) -> bool {
    let scheme = target.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte));
    scheme.is_some_and(|end| end > 0 && target[end..].starts_with(b"://"))
}

fn end_of_authority(target: &[u8]) -> usize {
    let begins = target.windows(3).position(|part| part == b"://").map_or(0, |scheme| scheme + 3);
    let length = target[begins..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    length.map_or(target.len(), |length| begins + length)
}

fn path_and_query(path: Bytes) -> Result<(PathAndQuery, Option<RawTarget>), Malformed> {
    if path.is_empty() {
        return Ok((PathAndQuery::from_static("/"), None));
    }
    if path[0] == b'#' {
        return Err(Malformed::Target);
    }
    if path[0] == b'/' && path.iter().all(|byte| is_of_uri(*byte)) {
        let path = PathAndQuery::from_maybe_shared(path).map_err(|_| Malformed::Target)?;
        return Ok((path, None));
    }
    let encoded = PathAndQuery::from_maybe_shared(Bytes::from(percent_encode(&path)));
    let raw = if path[0] == b'/' { path } else { Bytes::from([b"/", &path[..]].concat()) };
    Ok((encoded.map_err(|_| Malformed::Target)?, Some(RawTarget(raw))))
}

/// Of what is visible, a fragment, which no target has, would be lost in the URI.
fn is_of_uri(byte: u8) -> bool {
    !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
}

/// With a slash in front, and without the characters that a URI must not have as they are.
fn percent_encode(path: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(path.len() + 32);
    if path.first() != Some(&b'/') {
        encoded.push(b'/');
    }
    for byte in path {
        match is_of_uri(*byte) {
            true => encoded.push(*byte),
            false => {
                let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                encoded.extend([b'%', digits[0], digits[1]]);
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(method: Method, target: &[u8]) -> Result<(String, Option<Vec<u8>>), Malformed> {
        let (uri, raw) = parse(&method, Bytes::copy_from_slice(target))?;
        Ok((uri.to_string(), raw.map(|raw| raw.0.to_vec())))
    }

    #[test]
    fn targets_become_a_uri_and_what_it_cannot_have_is_kept() {
        for (target, uri, raw) in [
            (&b"/"[..], "/", None),
            (b"/a/b?c=d&e", "/a/b?c=d&e", None),
            (b"/a%20b", "/a%20b", None),
            (b"*", "*", None),
            (b"http://a.test:1/b?c", "http://a.test:1/b?c", None),
            (b"http://a.test", "http://a.test/", None),
            (b"http://a.test?c", "http://a.test/?c", Some(&b"/?c"[..])),
            (b"a.test:1", "a.test:1", None),
            (b"/q?up{job=\"x\"}", "/q?up%7Bjob=%22x%22%7D", Some(b"/q?up{job=\"x\"}")),
            (b"/a|b^c`d\\e<f>", "/a%7Cb%5Ec%60d%5Ce%3Cf%3E", Some(b"/a|b^c`d\\e<f>")),
            (b"/\xc3\xa4?\xff", "/%C3%A4?%FF", Some(b"/\xc3\xa4?\xff")),
            (b"/a#b", "/a%23b", Some(b"/a#b")),
            (b"http://a.test/<b>", "http://a.test/%3Cb%3E", Some(b"/<b>")),
            (b"/?http://b.test", "/?http://b.test", None),
        ] {
            let expected = (uri.to_owned(), raw.map(<[u8]>::to_vec));
            assert_eq!(parsed(Method::GET, target), Ok(expected), "{}", target.escape_ascii());
        }
        assert_eq!(parsed(Method::CONNECT, b"a.test:1"), Ok(("a.test:1".into(), None)));
        for target in
            [&b""[..], b"/a b", b"/a\0", b"/a\x7f", b"?a", b"**", b"http://", b"http:///a", b"a b:1"]
        {
            assert_eq!(parsed(Method::GET, target), Err(Malformed::Target), "{}", target.escape_ascii());
        }
        assert_eq!(parsed(Method::CONNECT, b"http://a.test/"), Err(Malformed::Target));
        let (uri, _) = parse(&Method::OPTIONS, Bytes::from_static(b"http://a.test")).unwrap();
        assert_eq!(uri.path(), "*");
        assert_eq!(parsed(Method::GET, b"http://a.test#b"), Err(Malformed::Target));
    }
}
