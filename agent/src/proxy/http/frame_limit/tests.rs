#![allow(clippy::unwrap_used)]
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn found(parts: &[&[u8]]) -> Vec<Frame> {
    let (mut scanner, mut all) = (FrameScanner::new(), Vec::new());
    for part in parts {
        scanner.scan(part, |frame| all.push(*frame));
    }
    assert!(scanner.is_between_frames());
    all
}

#[test]
fn frames_are_the_same_however_their_bytes_come() {
    let bytes =
        [frame(0, 1, 3, &[7; 300]), frame(4, 0, 0, b""), frame(1, 4, 5, b"abc"), frame(6, 1, 0, &[0; 8])]
            .concat();
    let whole = found(&[&bytes]);
    let kinds: Vec<_> = whole.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Kind::Data, Kind::Settings, Kind::Headers, Kind::Ping]);
    assert_eq!((whole[0].length, whole[0].stream, whole[0].ends_stream()), (300, 3, true));
    for size in [1, 2, 5, 9, 10, 100] {
        assert_eq!(found(&bytes.chunks(size).collect::<Vec<_>>()), whole, "{size}");
    }
}

#[test]
fn padding_alone_is_no_data() {
    let padded = |length: usize| found(&[&frame(0, 8, 1, &vec![0; length])])[0];
    assert!(!padded(256).has_data());
    assert!(padded(257).has_data());
}

fn received(budget: &mut FrameBudget, bytes: &[u8]) -> bool {
    budget.receive(&found(&[bytes])[0])
}

#[test]
fn frames_that_carry_something_pay_for_those_that_do_not() {
    let mut budget = FrameBudget::new();
    let (ping, update) = (frame(6, 0, 0, &[0; 8]), frame(8, 0, 0, &[0; 4]));
    let data = found(&[&frame(0, 0, 1, b"x")])[0];
    for _ in 0..10 * BUDGET {
        budget.send(&data);
        assert!([&ping, &update, &update].iter().all(|bytes| received(&mut budget, bytes)));
    }
    let (request, reset) = (frame(1, 5, 1, b"x"), frame(3, 0, 1, &[0; 4]));
    for _ in 0..10 * BUDGET {
        assert!([&request, &update, &reset, &ping].iter().all(|bytes| received(&mut budget, bytes)));
    }
}

#[test]
fn time_pays_for_a_few() {
    let mut budget = FrameBudget::new();
    let begin = budget.refilled;
    let at = |millis| move || begin + Duration::from_millis(millis);
    assert!(budget.spend(BUDGET, at(0)));
    assert!(!budget.spend(1, at(0)));
    assert!(budget.spend(REFILL_PER_SECOND, at(1000)));
    assert!(!budget.spend(1, at(1000)));
}

/// What a server makes of this many frames, and its answer.
async fn flooded(bytes: &[u8], count: usize) -> (io::Result<u64>, Vec<u8>) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let flood = bytes.repeat(count);
    let mut server = FrameLimited::server(server, None);
    let serving = async move { tokio::io::copy(&mut server, &mut tokio::io::sink()).await };
    let client = async move {
        let preface = [b'x'; 24];
        // An error means that it was sent away.
        let _ = client.write_all(&[&preface[..], &flood].concat()).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(serving, client)
}

#[tokio::test]
async fn each_kind_that_carries_nothing_is_sent_away_in_time() {
    let kinds = [
        ("SETTINGS", frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]), SETTINGS_COST),
        ("SETTINGS acknowledged", frame(4, 1, 0, b""), 1),
        ("PING", frame(6, 0, 0, &[0; 8]), PING_COST),
        ("PING acknowledged", frame(6, 1, 0, &[0; 8]), 1),
        ("PRIORITY", frame(2, 0, 3, &[0; 5]), 1),
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1]), 1),
        ("RST_STREAM", frame(3, 0, 1, &[0; 4]), 1),
        ("empty DATA", frame(0, 0, 1, b""), 1),
        ("padding", frame(0, 8, 1, &[3, 0, 0, 0]), 1),
        ("empty CONTINUATION", frame(9, 0, 1, b""), 1),
        ("unknown", frame(200, 0, 0, b"whatever"), 1),
        ("long unknown", frame(200, 0, 0, &[0; 16_384]), 17),
    ];
    for (name, bytes, cost) in kinds {
        let allowed = (BUDGET / cost) as usize;
        let (ended, answer) = flooded(&bytes, allowed).await;
        assert!(ended.is_ok() && answer.is_empty(), "{name}: {ended:?}");
        // More than the clock gives back meanwhile.
        let (ended, answer) = flooded(&bytes, 2 * allowed + 2).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted, "{name}");
        assert_eq!(answer, frames::go_away(0, Reason::ENHANCE_YOUR_CALM), "{name}");
    }
}

#[tokio::test]
async fn server_that_floods_is_sent_away_too() {
    let (mut server, client) = tokio::io::duplex(1 << 16);
    let mut client = FrameLimited::client(client, None, Arc::default());
    // The preface and the first frame: a server has no preface.
    client.write_all(&[&[b'x'; 24], &frame(4, 0, 0, b"")[..]].concat()).await.unwrap();
    let serving = async move {
        let _ = server.write_all(&frame(6, 0, 0, &[0; 8]).repeat(2 * BUDGET as usize)).await;
        let mut answer = Vec::new();
        let _ = server.read_to_end(&mut answer).await;
        answer
    };
    let reading = async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await };
    let (answer, ended) = tokio::join!(serving, reading);
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(answer[24 + 9..], frames::go_away(0, Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn requests_and_data_are_never_too_many() {
    for bytes in [frame(1, 5, 1, b"x"), frame(0, 0, 1, b"x"), frame(0, 1, 1, b"")] {
        let (ended, answer) = flooded(&bytes, 10 * BUDGET as usize).await;
        assert!(ended.is_ok() && answer.is_empty(), "{ended:?}");
    }
}

/// Bytes that are taken of these frames before the connection yields, in pieces that are no larger than those that the
/// library asks for.
async fn taken_at_once(frames: &[u8]) -> usize {
    let (mut client, server) = tokio::io::duplex(1 << 22);
    client.write_all(&[&[0; 24], frames].concat()).await.unwrap();
    let mut server = FrameLimited::server(server, None);
    let (mut taken, mut buffer) = (0, [0; 1000]);
    std::future::poll_fn(|cx| {
        loop {
            let mut read = ReadBuf::new(&mut buffer);
            match Pin::new(&mut server).poll_read(cx, &mut read) {
                Poll::Ready(result) => result.unwrap(),
                Poll::Pending => return Poll::Ready(taken),
            }
            taken += read.filled().len();
        }
    })
    .await
}

#[tokio::test]
async fn one_poll_takes_a_bounded_number_of_frames() {
    let most = FRAMES_PER_POLL as usize;
    let small = frame(0, 0, 1, b"x");
    let taken = taken_at_once(&small.repeat(10 * most)).await;
    assert!((most * small.len()..2 * most * small.len()).contains(&taken), "{taken} bytes");
    let taken = taken_at_once(&frame(1, 4, 1, &[0x82; 16_384]).repeat(50)).await;
    assert!(taken < 2 * 16_393 + 1000, "{taken} bytes of header blocks");
    let bulk = frame(0, 0, 1, &[0; 16_384]).repeat(50);
    let taken = taken_at_once(&bulk).await;
    // More than twice as many bytes as of header blocks: what ends it is the runtime.
    assert!(taken > 5 * 16_384, "{taken} bytes of data");
}
