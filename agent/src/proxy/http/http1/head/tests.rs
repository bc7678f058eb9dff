#![allow(clippy::unwrap_used)]
use super::*;

fn parsed(head: &[u8]) -> Result<Request<()>, Malformed> {
    request(&Bytes::copy_from_slice(head))
}

#[test]
fn request_has_what_its_lines_say() {
    let request =
        parsed(b"POST /a?b HTTP/1.1\r\nHost: a.test\r\nX-One:  1 \r\nx-two:\r\nX-One: \xe4\r\n\r\n").unwrap();
    assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, "/a?b".into()));
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.headers()["host"], "a.test");
    assert_eq!(request.headers()["x-two"], "");
    let ones: Vec<_> = request.headers().get_all("x-one").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(ones, [&b"1"[..], b"\xe4"]);
    for (head, version) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], Version::HTTP_10),
        // A line may end with LF alone, and later minor versions are read as the latest.
        (b"GET / HTTP/1.1\n\n", Version::HTTP_11),
        (b"GET / HTTP/1.7\r\n\r\n", Version::HTTP_11),
    ] {
        assert_eq!(parsed(head).unwrap().version(), version);
    }
}

#[test]
fn what_is_not_a_request_is_refused_with_its_reason() {
    for (head, expected) in [
        (&b"GET /\r\n\r\n"[..], Malformed::FirstLine),
        (b"GET  / HTTP/1.1\r\n\r\n", Malformed::FirstLine),
        (b"GET / HTTP/1.1 \r\n\r\n", Malformed::FirstLine),
        (b"GET /a b HTTP/1.1\r\n\r\n", Malformed::FirstLine),
        (b"G\xc3T / HTTP/1.1\r\n\r\n", Malformed::FirstLine),
        (b"GET / HTTP/11\r\n\r\n", Malformed::FirstLine),
        (b"GET / http/1.1\r\n\r\n", Malformed::FirstLine),
        (b"GET / HTTP/2.0\r\n\r\n", Malformed::Version),
        (b"GET / HTTP/0.9\r\n\r\n", Malformed::Version),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", Malformed::Target),
        (b"GET /\r HTTP/1.1\r\n\r\n", Malformed::Target),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx : y\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\n: y\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\n x: y\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx: y\rz\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx: \0\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx: \x0b\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx: \x7f\r\n\r\n", Malformed::Field),
        (b"GET / HTTP/1.1\r\nx\xc3: y\r\n\r\n", Malformed::Field),
    ] {
        assert_eq!(parsed(head).unwrap_err(), expected, "{}", head.escape_ascii());
    }
}

#[test]
fn fields_are_as_many_as_may_be_and_no_more() {
    let with = |count: usize| {
        let fields: String = (0..count).map(|number| format!("x-{number}: {number}\r\n")).collect();
        parsed(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes())
    };
    for count in [0, FEW_FIELDS, FEW_FIELDS + 1, 101, MAX_FIELDS] {
        assert_eq!(with(count).unwrap().headers().len(), count);
    }
    assert_eq!(with(MAX_FIELDS + 1).unwrap_err(), Malformed::TooManyFields);
}

#[test]
fn response_keeps_a_reason_of_its_own() {
    let parsed = |line: &[u8]| response(&[line, b"\r\n\r\n"].concat().into());
    for (line, status, version, reason) in [
        (&b"HTTP/1.1 200 OK"[..], 200, Version::HTTP_11, None),
        (b"HTTP/1.0 404 Nothing here", 404, Version::HTTP_10, Some(&b"Nothing here"[..])),
        (b"HTTP/1.1 599 ", 599, Version::HTTP_11, Some(b"")),
        (b"HTTP/1.1 204", 204, Version::HTTP_11, Some(b"")),
    ] {
        let response = parsed(line).unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (status, version));
        assert_eq!(response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes), reason);
    }
    for line in [
        &b"HTTP/1.1 20 OK"[..],
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1  200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 099 x",
    ] {
        assert_eq!(parsed(line).unwrap_err(), Malformed::FirstLine, "{}", line.escape_ascii());
    }
    assert_eq!(parsed(b"HTTP/2.0 200 OK").unwrap_err(), Malformed::Version);
}

#[test]
fn another_protocol_is_told_by_its_first_bytes() {
    for good in [&b"G"[..], b"GET /a", b"GET / HTTP/1.1\r\nx"] {
        assert_eq!(may_begin_request(good), Ok(()));
    }
    for bad in [&b"\x16\x03\x01"[..], b"G\0", b"hello there\r\n", b"HELO\r\n"] {
        assert_eq!(may_begin_request(bad), Err(Malformed::FirstLine), "{}", bad.escape_ascii());
    }
    for good in [&b"H"[..], b"HTTP/1.", b"HTTP/1.1 200"] {
        assert_eq!(may_begin_response(good), Ok(()));
    }
    for bad in [&b"+OK"[..], b"HTTP/2", b"\x15"] {
        assert_eq!(may_begin_response(bad), Err(Malformed::FirstLine));
    }
}

#[test]
fn connection_persists_as_version_and_field_say() {
    for (version, value, expected) in [
        (Version::HTTP_11, "", true),
        (Version::HTTP_11, "x, Close", false),
        (Version::HTTP_10, "", false),
        (Version::HTTP_10, "Keep-Alive", true),
        (Version::HTTP_10, "keep-alive, close", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static(value));
        assert_eq!(persists(version, &headers), expected, "{version:?} {value}");
    }
}
