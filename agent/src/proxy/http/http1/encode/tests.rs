#![allow(clippy::unwrap_used)]
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, Version};
use tokio::io::AsyncWrite;

use super::*;

/// Takes so many bytes in one call.
struct Sink {
    taken: Vec<u8>,
    at_once: usize,
    vectored: bool,
    calls: usize,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let count = bytes.len().min(self.at_once);
        self.taken.extend_from_slice(&bytes[..count]);
        self.calls += 1;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let all: Vec<u8> = bytes.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What is written for a body of these pieces, and in how many calls.
async fn written(
    framing: Framing,
    pieces: &[&'static [u8]],
    trailers: Option<&HeaderMap>,
    mut sink: Sink,
) -> Result<(Vec<u8>, usize), WrongLength> {
    let mut out = Output::<Bytes>::new();
    let mut encoder = Encoder::new(framing);
    out.buffer().extend_from_slice(b"HEAD ");
    for (at, piece) in pieces.iter().enumerate() {
        if !out.has_room() {
            poll_fn(|cx| out.poll_write(cx, &mut sink)).await.unwrap();
        }
        let last = at + 1 == pieces.len() && trailers.is_none();
        encoder.data(Bytes::from_static(piece), last, &mut out)?;
    }
    if !out.has_room() {
        poll_fn(|cx| out.poll_write(cx, &mut sink)).await.unwrap();
    }
    encoder.end(trailers, &mut out)?;
    poll_fn(|cx| out.poll_flush(cx, &mut sink)).await.unwrap();
    assert!(out.is_empty());
    Ok((sink.taken, sink.calls))
}

fn sink(at_once: usize, vectored: bool) -> Sink {
    Sink { taken: Vec::new(), at_once, vectored, calls: 0 }
}

static LARGE: [u8; 5000] = [b'x'; 5000];

#[tokio::test]
async fn body_is_written_by_its_framing_however_the_stream_takes_it() {
    let large = String::from_utf8(LARGE.to_vec()).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("1"));
    trailers.insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
    trailers.insert(HOST, HeaderValue::from_static("a"));
    for (framing, pieces, trailers, expected) in [
        (Framing::None, &[][..], None, String::new()),
        (Framing::Length(5), &[&b"hello"[..]], None, "hello".into()),
        (Framing::Length(5005), &[&LARGE[..], b"hello"], None, large.clone() + "hello"),
        (Framing::UntilClose, &[&b"a"[..], &LARGE], None, "a".to_owned() + &large),
        (Framing::Chunked, &[], None, "0\r\n\r\n".into()),
        (Framing::Chunked, &[&b"hello"[..], b"", b"!"], None, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n".into()),
        (Framing::Chunked, &[&LARGE[..]], None, format!("1388\r\n{large}\r\n0\r\n\r\n")),
        (Framing::Chunked, &[&b"a"[..], b""], None, "1\r\na\r\n0\r\n\r\n".into()),
        (Framing::Chunked, &[&b"a"[..]], Some(&trailers), "1\r\na\r\n0\r\nx-end: 1\r\n\r\n".into()),
    ] {
        for (at_once, vectored) in [(usize::MAX, true), (usize::MAX, false), (1, true), (1, false), (7, true)]
        {
            let (bytes, calls) = written(framing, pieces, trailers, sink(at_once, vectored)).await.unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), "HEAD ".to_owned() + &expected, "{framing:?}");
            if at_once > LARGE.len() && vectored && pieces.len() < 2 {
                assert_eq!(calls, 1, "{framing:?}: in one call");
            }
        }
    }
}

#[tokio::test]
async fn body_of_another_length_than_it_has_is_not_completed() {
    for pieces in [&[&b"hell"[..]][..], &[b"hello!"], &[b"hello", b"!"], &[]] {
        assert_eq!(written(Framing::Length(5), pieces, None, sink(9, true)).await.unwrap_err(), WrongLength);
    }
}

#[test]
fn heads_say_what_follows_and_nothing_that_the_fields_said_of_it() {
    let lies = |headers: &mut HeaderMap| {
        for (name, value) in [
            (CONTENT_LENGTH, "99"),
            (TRANSFER_ENCODING, "gzip"),
            (CONNECTION, "keep-alive"),
            (UPGRADE, "websocket"),
            (HOST, "a"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    let mut request = Request::builder().method("PUT").uri("http://a.test/b?c").body(()).unwrap();
    lies(request.headers_mut());
    let mut out = Vec::new();
    request_head(&mut out, &request, Framing::Chunked, Connection::Close);
    let expected = "PUT /b?c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut response = Response::builder().status(299).version(Version::HTTP_10).body(()).unwrap();
    lies(response.headers_mut());
    let (head, ()) = response.into_parts();
    for (framing, declared, connection, expected) in [
        (Framing::Length(3), None, Connection::Implicit, "content-length: 3\r\n"),
        (Framing::None, Some(7), Connection::KeepAlive, "content-length: 7\r\nconnection: keep-alive\r\n"),
        (Framing::None, None, Connection::Upgrade, "connection: upgrade\r\nupgrade: websocket\r\n"),
        (Framing::UntilClose, None, Connection::Close, "connection: close\r\n"),
    ] {
        let mut out = Vec::new();
        response_head(&mut out, &head, framing, declared, connection);
        assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 299 \r\nhost: a\r\n{expected}\r\n"));
    }
}
