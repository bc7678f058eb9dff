#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use http_body_util::{Empty, Full, StreamBody};
use hyper::header::HeaderName;

use super::*;

const READ_11: Version = Version::HTTP_11;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().copied().map(field).collect()
}

fn read_request(
    version: Version,
    fields: &[(&'static str, &'static str)],
) -> Result<(Framing, bool, Vec<String>), Malformed> {
    let mut request = Request::new(());
    *request.version_mut() = version;
    *request.headers_mut() = headers(fields);
    let read = of_request(&mut request)?;
    let lengths = request.headers().get_all(CONTENT_LENGTH).iter();
    Ok((read.framing, read.persists, lengths.map(|value| value.to_str().unwrap().to_owned()).collect()))
}

#[test]
fn body_of_a_request_ends_where_one_rule_says() {
    const CL: &str = "content-length";
    const TE: &str = "transfer-encoding";
    use Framing as F;
    for (version, fields, expected) in [
        (READ_11, &[][..], Ok((F::None, true, &[][..]))),
        (READ_11, &[(CL, "0")], Ok((F::Length(0), true, &["0"]))),
        (READ_11, &[(CL, "5")], Ok((F::Length(5), true, &["5"]))),
        (READ_11, &[(CL, "005")], Ok((F::Length(5), true, &["5"]))),
        (READ_11, &[(CL, "5"), (CL, "5")], Ok((F::Length(5), true, &["5"]))),
        (READ_11, &[(CL, "5"), (CL, "6")], Err(Malformed::Length)),
        (READ_11, &[(CL, "5, 5")], Err(Malformed::Length)),
        (READ_11, &[(CL, "+5")], Err(Malformed::Length)),
        (READ_11, &[(CL, "")], Err(Malformed::Length)),
        (READ_11, &[(CL, "0x5")], Err(Malformed::Length)),
        (READ_11, &[(CL, "18446744073709551617")], Err(Malformed::Length)),
        (READ_11, &[(TE, "chunked")], Ok((F::Chunked, true, &[]))),
        (READ_11, &[(TE, "Chunked")], Ok((F::Chunked, true, &[]))),
        (READ_11, &[(TE, "chunked"), (CL, "5")], Ok((F::Chunked, false, &[]))),
        (READ_11, &[(TE, "chunked"), (CL, "x")], Err(Malformed::Length)),
        (READ_11, &[(TE, "gzip, chunked")], Err(Malformed::Coding)),
        (READ_11, &[(TE, "gzip"), (TE, "chunked")], Err(Malformed::Coding)),
        (READ_11, &[(TE, "chunked, chunked")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "chunked, gzip")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "chunked"), (TE, "identity")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "gzip")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "xchunked")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "chunked;a=b")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "")], Err(Malformed::NotChunked)),
        (READ_11, &[(TE, "chunked"), ("connection", "close")], Ok((F::Chunked, false, &[]))),
        (Version::HTTP_10, &[(TE, "chunked")], Err(Malformed::CodingInHttp10)),
        (Version::HTTP_10, &[(CL, "5")], Ok((F::Length(5), false, &["5"]))),
        (Version::HTTP_10, &[(CL, "5"), ("connection", "keep-alive")], Ok((F::Length(5), true, &["5"]))),
    ] {
        let expected = expected.map(|(framing, persists, lengths)| {
            (framing, persists, lengths.iter().map(|length| (*length).to_owned()).collect())
        });
        assert_eq!(read_request(version, fields), expected, "{version:?} {fields:?}");
    }
}

#[test]
fn body_of_a_response_ends_where_one_rule_says() {
    const CL: &str = "content-length";
    const TE: &str = "transfer-encoding";
    use Framing as F;
    let get = Method::GET;
    for (method, status, version, fields, expected) in [
        (&get, 200, READ_11, &[][..], Ok((F::UntilClose, false, None))),
        (&get, 200, READ_11, &[(CL, "5")], Ok((F::Length(5), true, Some("5")))),
        (&get, 200, READ_11, &[(CL, "5"), (CL, "5")], Ok((F::Length(5), true, Some("5")))),
        (&get, 200, READ_11, &[(CL, "5, 5")], Ok((F::Length(5), true, Some("5")))),
        (&get, 200, READ_11, &[(CL, "5"), (CL, "6")], Err(Malformed::Length)),
        (&get, 200, READ_11, &[(CL, "-5")], Err(Malformed::Length)),
        (&get, 200, READ_11, &[(TE, "chunked")], Ok((F::Chunked, true, None))),
        // The length is not believed, and neither is the connection.
        (&get, 200, READ_11, &[(CL, "2"), (TE, "chunked")], Ok((F::Chunked, false, None))),
        (&get, 200, READ_11, &[(CL, "x"), (TE, "chunked")], Ok((F::Chunked, false, None))),
        (&get, 200, READ_11, &[(TE, "gzip, chunked")], Err(Malformed::Coding)),
        (&get, 200, READ_11, &[(TE, "gzip")], Err(Malformed::NotChunked)),
        (&get, 200, Version::HTTP_10, &[(TE, "chunked")], Err(Malformed::CodingInHttp10)),
        (&get, 200, Version::HTTP_10, &[(CL, "5")], Ok((F::Length(5), false, Some("5")))),
        (
            &get,
            200,
            Version::HTTP_10,
            &[(CL, "5"), ("connection", "keep-alive")],
            Ok((F::Length(5), true, Some("5"))),
        ),
        (&get, 204, READ_11, &[(CL, "5")], Ok((F::None, true, None))),
        (&get, 304, READ_11, &[(CL, "5")], Ok((F::None, true, Some("5")))),
        (&get, 304, READ_11, &[(TE, "chunked")], Ok((F::None, true, None))),
        (&get, 103, READ_11, &[(CL, "5")], Ok((F::None, true, None))),
        (&Method::HEAD, 200, READ_11, &[(CL, "5")], Ok((F::None, true, Some("5")))),
        (&Method::HEAD, 200, READ_11, &[(CL, "x")], Ok((F::None, true, None))),
        (&Method::CONNECT, 200, READ_11, &[(CL, "5")], Ok((F::None, true, None))),
        (&Method::CONNECT, 403, READ_11, &[(CL, "5")], Ok((F::Length(5), true, Some("5")))),
    ] {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.version_mut() = version;
        *response.headers_mut() = headers(fields);
        let read = of_response(method, &mut response).map(|read| {
            let length = response.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            (read.framing, read.persists, length)
        });
        assert_eq!(read, expected, "{method} {status} {version:?} {fields:?}");
    }
}

#[test]
fn body_is_written_as_method_status_and_version_need_it() {
    let (empty, full) = (Empty::<Bytes>::new(), Full::new(Bytes::from_static(b"hello")));
    let unknown =
        StreamBody::new(futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, hyper::Error>>());
    let get = Method::GET;
    assert_eq!(to_write_request(None, &empty), Framing::None);
    assert_eq!(to_write_request(Some(0), &empty), Framing::Length(0));
    assert_eq!(to_write_request(None, &full), Framing::Length(5));
    assert_eq!(to_write_request(None, &unknown), Framing::Chunked);
    assert_eq!(to_write_request(Some(7), &unknown), Framing::Length(7));
    let ok = StatusCode::OK;
    assert_eq!(to_write_response(&get, READ_11, ok, None, &empty), Framing::Length(0));
    assert_eq!(to_write_response(&get, READ_11, ok, None, &full), Framing::Length(5));
    assert_eq!(to_write_response(&get, READ_11, ok, None, &unknown), Framing::Chunked);
    assert_eq!(to_write_response(&get, READ_11, ok, Some(7), &unknown), Framing::Length(7));
    assert_eq!(to_write_response(&get, Version::HTTP_10, ok, None, &unknown), Framing::UntilClose);
    assert_eq!(to_write_response(&Method::HEAD, READ_11, ok, Some(7), &empty), Framing::None);
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::SWITCHING_PROTOCOLS] {
        assert_eq!(to_write_response(&get, READ_11, status, None, &full), Framing::None);
    }
    assert_eq!(to_write_response(&Method::CONNECT, READ_11, ok, None, &empty), Framing::None);
}
