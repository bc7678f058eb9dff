//! Keepalive of HTTP/2 connections to the app and to servers: a peer that has gone without a word while requests are in
//! flight is noticed by a PING that is not answered, and the requests fail. A peer that says something is not asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between looks. After two without a word, with requests in flight, the peer is asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SILENT_LOOKS: u32 = 2;
/// With the silence before, a peer that has gone is noticed within 20 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// gRPC servers close a connection after the third PING within five minutes each, unless they sent headers or data in
/// between: a call may be silent for as long as it likes. One PING too many is left unused.
const MAX_PINGS_UNHEARD: u32 = 2;
const PATIENT_AFTER: Duration = Duration::from_secs(310);

/// What came in since it was looked at.
#[derive(Default)]
pub struct Heard {
    /// A frame of any kind.
    pub any: AtomicBool,
    /// HEADERS or DATA.
    pub response: AtomicBool,
}

/// Decides when the peer is asked.
struct Pings {
    silent_looks: u32,
    /// PINGs since a response.
    unheard: u32,
    last: Instant,
}

impl Pings {
    /// Of a connection on which one PING was answered, before there was a request.
    fn new(now: Instant) -> Self {
        Self { silent_looks: 0, unheard: 1, last: now }
    }

    /// Whether the peer is asked now.
    fn look(&mut self, now: Instant, requests: bool, any: bool, response: bool) -> bool {
        if response {
            self.unheard = 0;
        }
        if any || !requests {
            self.silent_looks = 0;
            return false;
        }
        self.silent_looks += 1;
        if self.silent_looks < SILENT_LOOKS {
            return false;
        }
        if self.unheard >= MAX_PINGS_UNHEARD && now.duration_since(self.last) < PATIENT_AFTER {
            return false;
        }
        self.silent_looks = 0;
        self.unheard += 1;
        self.last = now;
        true
    }
}

/// Returns when the peer has not answered. Never returns if the connection ends by itself.
pub async fn until_unresponsive(mut ping_pong: PingPong, heard: Arc<Heard>, has_requests: impl Fn() -> bool) {
    let mut pings = Pings::new(Instant::now());
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (any, response) = (heard.any.swap(false, Relaxed), heard.response.swap(false, Relaxed));
        if !pings.look(Instant::now(), has_requests(), any, response) {
            continue;
        }
        let mut pong = std::pin::pin!(ping_pong.ping(Ping::opaque()));
        loop {
            match timeout(ANSWER_WITHIN, &mut pong).await {
                Ok(Ok(_)) => break,
                Ok(Err(_)) => return std::future::pending().await,
                // Its answer comes after what it is sending.
                Err(_) if heard.any.swap(false, Relaxed) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u32 = 12;

    #[test]
    fn silent_peer_is_asked_after_ten_seconds_and_then_seldom_enough_for_grpc() {
        let begun = Instant::now();
        let mut pings = Pings::new(begun);
        let mut asked = |look: u32, requests, any, response| {
            pings.look(begun + look * LOOK_EVERY, requests, any, response)
        };
        assert!(!asked(1, true, false, false));
        assert!(asked(2, true, false, false));
        // A call that is silent for half an hour.
        let later: Vec<_> = (3..30 * MINUTE).filter(|look| asked(*look, true, false, false)).collect();
        assert!(later.windows(2).all(|pair| pair[1] - pair[0] > 5 * MINUTE), "{later:?}");
        assert!(later.len() >= 4 && later[0] > 5 * MINUTE, "{later:?}");
        // A response, and silence again.
        assert!(!asked(30 * MINUTE, true, true, true));
        assert!(!asked(30 * MINUTE + 1, true, false, false));
        assert!(asked(30 * MINUTE + 2, true, false, false));
    }

    #[test]
    fn peer_without_requests_or_with_frames_is_not_asked() {
        let begun = Instant::now();
        let mut pings = Pings::new(begun);
        assert!(!(0..100).any(|look| pings.look(begun + look * LOOK_EVERY, false, false, false)));
        assert!(!(0..100).any(|look| pings.look(begun + look * LOOK_EVERY, true, look % 2 == 0, false)));
    }
}
