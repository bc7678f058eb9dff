//! Header fields that end at the agent, and those that each version of HTTP wants in its own form.

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request;
use hyper::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::{Method, Request, Version};

use super::list;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes the hop-by-hop headers, and those that the sender lists in `Connection`. `TE: trailers` stays: it
/// says that the sender takes trailers, which are carried.
pub fn remove_hop_headers(headers: &mut HeaderMap) {
    // As in most messages, there is none.
    if !headers.keys().any(is_of_hop) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = list::members(headers, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    if headers.contains_key(TE) {
        let trailers = takes_trailers(headers);
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

fn is_of_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Makes one of a length that a response of HTTP/1 says several times (RFC 9110, 8.6): clients of HTTP/2 take more than
/// one for an error. That they are the same was checked when it was read.
pub fn unite_lengths(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let several = lengths.next().is_some() || first.as_bytes().contains(&b',');
    if several {
        let length = first.to_str().ok().and_then(|value| value.split(',').next());
        if let Some(Ok(length)) = length.map(|length| HeaderValue::from_str(length.trim())) {
            headers.insert(CONTENT_LENGTH, length);
        }
    }
}

/// Listed in `Connection` or not, these define where a message goes and where it ends.
fn is_end_to_end(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH || *name == TE
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    list::contains(headers, &TE, "trailers")
}

/// Turns a request into one of HTTP/1.1: the path alone, the authority in Host.
pub fn to_http1<B: Body<Data = Bytes>>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    if std::mem::replace(request.version_mut(), Version::HTTP_11) == Version::HTTP_2 {
        join_cookies(request.headers_mut());
        // Servers of HTTP/1.1 ask for a length where content is usual.
        let has_content = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        if has_content && request.body().is_end_stream() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    request.headers_mut().remove(TE);
}

/// Turns a request into one of HTTP/2: scheme and authority in the URI, and no Host. Servers compare the scheme with
/// how the request reached them.
pub fn to_http2(head: &mut request::Parts, scheme: &Scheme, default_authority: &Authority) {
    let host = head.headers.remove(HOST);
    let named = || Authority::try_from(host.as_ref()?.as_bytes()).ok();
    let authority = head.uri.authority().cloned().or_else(named).unwrap_or_else(|| default_authority.clone());
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::builder().scheme(scheme.clone()).authority(authority).path_and_query(path).build() {
        head.uri = uri;
    }
    head.version = Version::HTTP_2;
    head.headers.remove(TRANSFER_ENCODING);
}

/// HTTP/2 may split a cookie into several fields; HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_is_said_several_times_is_one() {
        for values in [&["5"][..], &["5", "5"], &["5, 5"], &["5 , 5", "5"]] {
            let mut headers: HeaderMap =
                values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value))).collect();
            unite_lengths(&mut headers);
            assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["5"], "{values:?}");
        }
    }

    #[test]
    fn hop_by_hop_headers_are_removed_however_they_are_declared() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, TE"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "websocket"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remove_hop_headers(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or(""))).collect();
        left.sort_unstable();
        assert_eq!(left, [("te", "trailers"), ("x-kept", "1")]);
    }
}
