//! The buffered stream over real sockets: bytes stay intact and idle streams hold no memory.

#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;
use crate::proxy_fixture::{DEADLINE, socket_pair};

fn free_buffers() -> usize {
    FREE_BUFFERS.with_borrow(Vec::len)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_are_intact_across_reads_of_any_size_and_end_with_the_stream() {
    let (mut sender, receiver) = socket_pair().await;
    let sent = pattern(3 * BUFFER_BYTES + 17);
    let expected = sent.clone();
    let send = tokio::spawn(async move {
        for chunk in sent.chunks(40_001) {
            sender.write_all(chunk).await.unwrap();
        }
        sender.shutdown().await.unwrap();
    });
    let mut stream = BufferedStream::new(receiver);
    let mut received = Vec::new();
    for size in [1, 2, 7, 4096, 16_384, 100_000].into_iter().cycle() {
        let mut part = vec![0; size];
        let count = timeout(DEADLINE, stream.read(&mut part)).await.unwrap().unwrap();
        if count == 0 {
            break;
        }
        received.extend_from_slice(&part[..count]);
    }
    assert!(received == expected);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the end stays the end");
    send.await.unwrap();
}

#[tokio::test]
async fn bytes_are_intact_when_the_socket_takes_part_of_a_write() {
    let (writer, mut reader) = socket_pair().await;
    rustix::net::sockopt::set_socket_send_buffer_size(&writer, 4096).unwrap();
    let mut stream = BufferedStream::new(writer);
    let expected = pattern(1 << 20);
    let sent = expected.clone();
    let send = tokio::spawn(async move {
        let slices = [io::IoSlice::new(&sent[..1000]), io::IoSlice::new(&sent[1000..])];
        let written = stream.write_vectored(&slices).await.unwrap();
        assert!(written < sent.len(), "the socket takes a part");
        stream.write_all(&sent[written..]).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    timeout(DEADLINE, reader.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received == expected);
    send.await.unwrap();
}

#[tokio::test]
async fn a_reset_is_an_error_and_not_an_end() {
    let (sender, receiver) = socket_pair().await;
    let mut stream = BufferedStream::new(receiver);
    rustix::net::sockopt::set_socket_linger(&sender, Some(std::time::Duration::ZERO)).unwrap();
    drop(sender);
    let error = timeout(DEADLINE, stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn buffer_is_borrowed_while_bytes_are_unread_and_returned_when_idle() {
    let (mut sender, receiver) = socket_pair().await;
    let mut stream = BufferedStream::new(receiver);
    assert!(futures_util::poll!(Box::pin(stream.read(&mut [0; 4]))).is_pending());
    assert_eq!((free_buffers(), stream.unread.buffer.is_some()), (1, false), "idle: the buffer is returned");
    sender.write_all(b"12345678").await.unwrap();
    timeout(DEADLINE, stream.read_exact(&mut [0; 4])).await.unwrap().unwrap();
    assert_eq!((free_buffers(), stream.unread.bytes()), (0, &b"5678"[..]), "unread bytes keep it");
    timeout(DEADLINE, stream.read_exact(&mut [0; 4])).await.unwrap().unwrap();
    assert_eq!((free_buffers(), stream.unread.buffer.is_some()), (1, false), "returned once they are read");
    sender.write_all(b"1234").await.unwrap();
    timeout(DEADLINE, stream.read_exact(&mut [0; 2])).await.unwrap().unwrap();
    drop(stream);
    assert_eq!(free_buffers(), 1, "returned with the stream");
}

#[test]
fn a_thread_keeps_a_bounded_number_of_free_buffers() {
    let buffers: Vec<_> = (0..MAX_FREE_BUFFERS + 3).map(|_| borrow_buffer()).collect();
    buffers.into_iter().for_each(return_buffer);
    assert_eq!(free_buffers(), MAX_FREE_BUFFERS);
}
