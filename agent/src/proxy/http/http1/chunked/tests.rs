#![allow(clippy::unwrap_used)]
use hyper::header::HeaderValue;

use super::*;

/// The data, the trailers and what is left; `None` as the error if it has not ended.
type Outcome = Result<(Vec<u8>, Option<HeaderMap>, Vec<u8>), Option<Malformed>>;

/// What comes of bytes in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut chunked = Chunked::new();
    let mut data = Vec::new();
    let mut end = None;
    let mut left = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while end.is_none() {
            match chunked.next(&mut input).map_err(Some)? {
                Some(Part::Data(part)) => data.extend_from_slice(&part),
                Some(Part::End(trailers)) => end = Some(trailers),
                None => break,
            }
        }
        left.extend_from_slice(&input);
    }
    end.map(|trailers| (data, trailers, left)).ok_or(None)
}

/// However the bytes are split, the result is the same.
fn read_in_every_way(bytes: &[u8]) -> Outcome {
    let whole = read([bytes]);
    assert_eq!(read(bytes.chunks(1)), whole, "{}", bytes.escape_ascii());
    for at in 0..bytes.len() {
        let (one, other) = bytes.split_at(at);
        assert_eq!(read([one, other]), whole, "{} | {}", one.escape_ascii(), other.escape_ascii());
    }
    whole
}

#[test]
fn chunks_become_data_and_trailers() {
    for (bytes, data) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"00005;a=b;c=\"d\xc3\"\r\nhello\r\n1 ;x\r\n!\r\n000;z\r\n\r\n", b"hello!"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    ] {
        assert_eq!(
            read_in_every_way(bytes),
            Ok((data.to_vec(), None, Vec::new())),
            "{}",
            bytes.escape_ascii()
        );
    }
    let with_trailers = b"1\r\na\r\n0\r\nX-One: 1\r\nx-two: 2\r\n\r\nGET / HTTP/1.1";
    let (data, trailers, left) = read_in_every_way(with_trailers).unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((&data[..], &left[..], trailers.len()), (&b"a"[..], &b"GET / HTTP/1.1"[..], 2));
    assert_eq!(trailers["x-one"], HeaderValue::from_static("1"));
}

#[test]
fn what_is_not_a_chunk_is_refused() {
    for (bytes, expected) in [
        (&b"\r\n"[..], Malformed::ChunkSize),
        (b";a\r\n", Malformed::ChunkSize),
        (b" 5\r\n", Malformed::ChunkSize),
        (b"-5\r\n", Malformed::ChunkSize),
        (b"0x5\r\n", Malformed::ChunkSize),
        (b"5\nhello\r\n", Malformed::ChunkSize),
        (b"5\r\r\nhello", Malformed::ChunkSize),
        (b"5;a\nhello", Malformed::ChunkSize),
        (b"5;\0\r\nhello", Malformed::ChunkSize),
        (b"5;a\rb\r\nhello", Malformed::ChunkSize),
        (b"00000000000000001\r\na", Malformed::ChunkSize),
        (b"5\r\nhello!\r\n", Malformed::ChunkEnd),
        (b"5\r\nhello\n", Malformed::ChunkEnd),
        (b"5\r\nhello\r\r\n", Malformed::ChunkEnd),
        (b"0\r\nno colon\r\n\r\n", Malformed::Trailer),
        (b"0\r\nx: y\n\n", Malformed::Trailer),
        (b"0\r\nx: y\r\n z\r\n\r\n", Malformed::Trailer),
        (b"0\r\n\n", Malformed::Trailer),
    ] {
        assert_eq!(read_in_every_way(bytes), Err(Some(expected)), "{}", bytes.escape_ascii());
    }
    for unfinished in [
        &b""[..],
        b"5",
        b"5\r\nhell",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\nx: y\r\n",
        b"ffffffffffffffff\r\na",
    ] {
        assert_eq!(read_in_every_way(unfinished), Err(None), "{}", unfinished.escape_ascii());
    }
}

#[test]
fn what_is_not_data_is_bounded() {
    let extension = [&b"1;"[..], &b"a".repeat(1000), b"\r\nx\r\n"].concat();
    let many = extension.repeat(20);
    assert_eq!(read([&many[..]]), Err(Some(Malformed::ExtensionsTooLong)));
    for trailers in [b"x: y\r\n".repeat(4000), [&b"x: "[..], &b"y".repeat(20_000)].concat()] {
        assert_eq!(read([&b"0\r\n"[..], &trailers]), Err(Some(Malformed::TrailersTooLong)));
    }
}
