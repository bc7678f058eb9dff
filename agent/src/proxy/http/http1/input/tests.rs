#![allow(clippy::unwrap_used)]
use std::future::poll_fn;

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::proxy::http::http1::head;

/// The head, and what was read beyond it, when the bytes come in these pieces.
async fn read(pieces: Vec<Vec<u8>>) -> Result<(Vec<u8>, Vec<u8>), NoHead> {
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    let writing = async move {
        for piece in pieces {
            far.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let (mut input, mut partial) = (Input::new(), PartialHead::default());
        let head =
            poll_fn(|cx| input.poll_head(cx, &mut near, &mut partial, head::may_begin_request)).await?;
        let mut rest = input.bytes.to_vec();
        while !input.ended {
            input.bytes.clear();
            poll_fn(|cx| input.poll_read(cx, &mut near)).await.unwrap();
            rest.extend_from_slice(&input.bytes);
        }
        Ok((head.to_vec(), rest))
    };
    tokio::join!(writing, reading).1
}

#[tokio::test]
async fn head_is_found_however_it_comes() {
    let head = b"GET / HTTP/1.1\r\nx: y\r\n\r\n";
    let all = [&b"\r\n\n"[..], head, b"the body"].concat();
    let expected = (head.to_vec(), b"the body".to_vec());
    let bytewise = all.chunks(1).map(<[u8]>::to_vec).collect();
    assert_eq!(read(bytewise).await.unwrap(), expected);
    for at in 0..=all.len() {
        let (one, other) = all.split_at(at);
        assert_eq!(read(vec![one.to_vec(), other.to_vec()]).await.unwrap(), expected, "split at {at}");
    }
}

#[tokio::test]
async fn head_is_as_long_as_it_may_be_and_no_longer() {
    let with = |line: usize, field: usize| {
        let (line, field) = ("a".repeat(line), "b".repeat(field));
        vec![format!("GET /{line} HTTP/1.1\r\nx: {field}\r\n\r\n").into_bytes()]
    };
    let fixed = b"GET / HTTP/1.1\r\nx: \r\n\r\n".len();
    let (head, _) = read(with(0, MAX_HEAD_BYTES - fixed)).await.unwrap();
    assert_eq!(head.len(), MAX_HEAD_BYTES);
    let reason = |result| match result {
        Err(NoHead::Malformed(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(read(with(0, MAX_HEAD_BYTES - fixed + 1)).await), Malformed::FieldsTooLong);
    assert_eq!(reason(read(with(0, 70_000)).await), Malformed::FieldsTooLong);
    assert_eq!(reason(read(with(70_000, 0)).await), Malformed::LineTooLong);
    // One that does not end.
    assert_eq!(reason(read(vec![vec![b'A'; 70_000]]).await), Malformed::LineTooLong);
    assert_eq!(reason(read(vec![b"\x16\x03\x01".to_vec()]).await), Malformed::FirstLine);
}

#[tokio::test]
async fn end_of_the_stream_is_told_from_the_midst_of_a_head() {
    for (sent, in_the_midst) in [("", false), ("\r\n", false), ("GET", true)] {
        let ended = read(vec![sent.into()]).await;
        assert!(
            matches!(ended, Err(NoHead::Ended { partial }) if partial == in_the_midst),
            "{sent:?}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn large_reads_are_not_copied_and_small_ones_take_little_room() {
    let (mut near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&vec![7; 300_000]).await.unwrap();
    drop(far);
    let mut input = Input::new();
    let (mut all, mut largest) = (0, 0);
    while !input.ended {
        input.bytes.clear();
        poll_fn(|cx| input.poll_read(cx, &mut near)).await.unwrap();
        all += input.bytes.len();
        largest = largest.max(input.bytes.len());
    }
    assert_eq!((all, largest), (300_000, PLAIN_BYTES));
}
