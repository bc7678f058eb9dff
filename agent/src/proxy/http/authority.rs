//! The host that a request is for: one, and a host at that. What apps make of anything else differs, and so might be
//! another host than the one that a check before the app saw.

use std::net::Ipv6Addr;

use hyper::header::HOST;
use hyper::http::uri::{Scheme, Uri};
use hyper::{Request, Version};

use crate::proxy::request_error::RequestError;

/// Whether a client's request names its host as it should: `Host` (RFC 9112, 3.2), the absolute form (3.2.2, which
/// takes precedence over `Host`) and `:authority` (RFC 9113, 8.3.1, which `Host` must not contradict).
pub fn check<B>(request: &Request<B>) -> Result<(), RequestError> {
    let (uri, version) = (request.uri(), request.version());
    let mut hosts = request.headers().get_all(HOST).iter().map(|host| host.as_bytes());
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(RequestError::DuplicateHost);
    }
    // An empty one says that the target has no authority (RFC 9110, 7.2), as some health checks do.
    let may_be_empty = uri.authority().is_none();
    if !host.is_none_or(|host| is_valid(host) || host.is_empty() && may_be_empty) {
        return Err(RequestError::InvalidHost);
    }
    let Some(authority) = uri.authority().map(|authority| authority.as_str().as_bytes()) else {
        return match host {
            None if version == Version::HTTP_11 => Err(RequestError::NoHost),
            _ => Ok(()),
        };
    };
    if !is_valid(authority) {
        return Err(RequestError::InvalidHost);
    }
    // Of another the app would see the path alone, as if it had been asked for that.
    if uri.scheme().is_some_and(|scheme| ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return Err(RequestError::Scheme);
    }
    match host {
        None if version == Version::HTTP_11 => Err(RequestError::NoHost),
        // The form of CONNECT alone.
        _ if version < Version::HTTP_2 && uri.scheme().is_none() => Err(RequestError::AuthorityForm),
        Some(host) if version == Version::HTTP_2 && !is_same(uri, authority, host) => {
            Err(RequestError::ConflictingHost)
        }
        _ => Ok(()),
    }
}

/// A name, an IPv4 address or an IPv6 address in brackets, with a port or without. Of what RFC 3986 allows in a name,
/// `!$&'()*+,;=` are not: no host is called so, and apps take some of them for the end of the name.
pub fn is_valid(authority: &[u8]) -> bool {
    let (host, port) = split(authority);
    let is_port = |port: &[u8]| std::str::from_utf8(port).is_ok_and(is_port);
    is_host(host) && port.is_none_or(is_port)
}

/// The host, and what follows the colon after it.
fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_bracket = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']').unwrap_or(0),
        _ => 0,
    };
    match authority[after_bracket..].iter().position(|byte| *byte == b':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_bracket + colon);
            (host, Some(&port[1..]))
        }
        None => (authority, None),
    }
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        name => {
            let escapes = name.iter().enumerate().filter(|(_, byte)| **byte == b'%');
            let is_escape = |at: usize| {
                name.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            };
            name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(byte))
                && escapes.into_iter().all(|(at, _)| is_escape(at))
        }
    }
}

/// It may be empty.
fn is_port(port: &str) -> bool {
    port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Whether both name one host, where a port that is not given is that of the scheme.
fn is_same(uri: &Uri, authority: &[u8], host: &[u8]) -> bool {
    let default: &[u8] = if uri.scheme() == Some(&Scheme::HTTP) { b"80" } else { b"443" };
    let port = |port: Option<&[u8]>| port.filter(|port| !port.is_empty()).unwrap_or(default).to_vec();
    let ((one, one_port), (other, other_port)) = (split(authority), split(host));
    one.eq_ignore_ascii_case(other) && port(one_port) == port(other_port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts_and_nothing_else_is() {
        for good in [
            "a.test",
            "a.test:8443",
            "A_b.shop.svc.cluster.local.",
            "10.0.0.1:1",
            "[::1]",
            "[fd00::1]:443",
            "a:",
            "x%41",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "a.test ",
            "user@a.test",
            "user:word@a.test",
            "a.test:x",
            "a.test:99999",
            "a:1:2",
            ":443",
            "a,b",
            "a;b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "http://a",
            "[::1",
            "::1",
            "[a]",
            "[::1]x",
            "[::1]:x",
            "a\"b",
            "<a>",
            "%",
            "%4",
            "%zz",
            "a\tb",
            "a:+1",
            "ä",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn requests_name_one_host() {
        use Version as V;
        let check = |version: Version, target: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(target).version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            check(&request.body(()).unwrap())
        };
        for (version, target, hosts, expected) in [
            (V::HTTP_11, "/", &["a.test"][..], Ok(())),
            (V::HTTP_11, "/", &[], Err(RequestError::NoHost)),
            (V::HTTP_10, "/", &[], Ok(())),
            (V::HTTP_10, "/", &["a b"], Err(RequestError::InvalidHost)),
            (V::HTTP_11, "/", &[""], Ok(())),
            (V::HTTP_11, "http://a.test/", &[""], Err(RequestError::InvalidHost)),
            (V::HTTP_11, "/", &["a", "a"], Err(RequestError::DuplicateHost)),
            (V::HTTP_11, "/", &["user@a"], Err(RequestError::InvalidHost)),
            // The absolute form says the host, whatever Host says.
            (V::HTTP_11, "http://a.test/", &["b.test"], Ok(())),
            (V::HTTP_11, "http://a.test/", &[], Err(RequestError::NoHost)),
            (V::HTTP_11, "http://u@a.test/", &["a.test"], Err(RequestError::InvalidHost)),
            (V::HTTP_11, "a.test:80", &["a.test"], Err(RequestError::AuthorityForm)),
            (V::HTTP_11, "HTTP://a.test/", &["a.test"], Ok(())),
            (V::HTTP_11, "ftp://a.test/", &["a.test"], Err(RequestError::Scheme)),
            (V::HTTP_11, "1http://a.test/", &["a.test"], Err(RequestError::Scheme)),
            (V::HTTP_2, "httpx://a.test/", &[], Err(RequestError::Scheme)),
            (V::HTTP_2, "https://a.test/", &[], Ok(())),
            (V::HTTP_2, "https://a.test/", &["A.test:443"], Ok(())),
            (V::HTTP_2, "https://a.test/", &["a.test:80"], Err(RequestError::ConflictingHost)),
            (V::HTTP_2, "http://a.test/", &["a.test:80"], Ok(())),
            (V::HTTP_2, "https://a.test/", &["b.test"], Err(RequestError::ConflictingHost)),
            (V::HTTP_2, "https://u@a.test/", &[], Err(RequestError::InvalidHost)),
            (V::HTTP_2, "/", &["a.test"], Ok(())),
        ] {
            assert_eq!(check(version, target, hosts), expected, "{version:?} {target} {hosts:?}");
        }
    }
}
