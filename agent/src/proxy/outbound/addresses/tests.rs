#![allow(clippy::unwrap_used)]
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::proxy_fixture::DEADLINE;

/// A listener that answers no more: its queue is full.
struct Silent {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(connected.unwrap());
            assert!(queued.len() < 16, "the queue is full");
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// An address at which nothing listens.
async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn connect(addresses: &[SocketAddr], failed: &FailedAddresses) -> (io::Result<SocketAddr>, Duration) {
    let begun = Instant::now();
    let mut addresses = Addresses::new(addresses.to_vec(), failed);
    let connected = addresses.connect(DEADLINE).await;
    (connected.map(|(_, address)| address), begun.elapsed())
}

#[test]
fn families_take_turns() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    for (resolved, expected) in [
        (&["1.1.1.1:1", "2.2.2.2:1"][..], &["1.1.1.1:1", "2.2.2.2:1"][..]),
        (&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]),
        (&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]),
        (&[], &[]),
    ] {
        assert_eq!(in_turn(addresses(resolved)), addresses(expected));
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_delays_one_connection_by_a_moment() {
    let silent = Silent::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (both, failed) = ([silent.address, listener.local_addr().unwrap()], FailedAddresses::default());
    let (first, after) = connect(&both, &failed).await;
    assert_eq!(first.unwrap(), both[1]);
    assert!(after >= ATTEMPT_DELAY, "{after:?}");
    assert_eq!(failed.count.get(), 1);
    // From now on the other comes first, and the silent one is not asked.
    let (second, _) = connect(&both, &failed).await;
    assert_eq!(second.unwrap(), both[1]);
    assert_eq!(failed.count.get(), 1);
}

#[tokio::test]
async fn an_address_that_refuses_is_followed_by_the_next_at_once_and_the_last_failure_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (refusing, open) = (refusing().await, listener.local_addr().unwrap());
    let failed = FailedAddresses::default();
    let (connected, _) = connect(&[refusing, open], &failed).await;
    assert_eq!(connected.unwrap(), open);
    let (connected, _) = connect(&[refusing, refusing], &failed).await;
    assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let (connected, _) = connect(&[], &failed).await;
    assert!(connected.unwrap_err().to_string().contains("no address"));
}

#[tokio::test]
async fn what_was_not_used_is_left_for_another_call() {
    let silent = Silent::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failed = FailedAddresses::default();
    let mut addresses = Addresses::new(vec![silent.address, listener.local_addr().unwrap()], &failed);
    addresses.connect(DEADLINE).await.unwrap();
    assert!(!addresses.is_empty());
    assert_eq!(addresses.left, [silent.address]);
}

#[tokio::test]
async fn the_time_for_connecting_is_that_of_all_addresses() {
    let (one, other) = (Silent::new().await, Silent::new().await);
    let failed = FailedAddresses::default();
    let mut addresses = Addresses::new(vec![one.address, other.address], &failed);
    let error = addresses.connect(3 * ATTEMPT_DELAY).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(failed.count.get(), 2);
}

#[test]
fn few_failures_are_remembered() {
    let failed = FailedAddresses::default();
    for port in 0..3 * MAX_AVOIDED {
        failed.record(SocketAddr::from(([127, 0, 0, 1], port as u16)));
    }
    assert_eq!(failed.lock().len(), MAX_AVOIDED);
}
