//! How long connections may live, and how many there may be.

use std::time::Duration;

/// How long connections may live, and how they end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of both sides together.
    pub max_connections: usize,
    /// Of these, each side may count on so many, whatever the other takes.
    pub kept_for_each_side: usize,
    /// No byte in either direction.
    pub idle: Duration,
    pub max_age: Duration,
    /// From the maximum age of an HTTP connection to the cut of what is still in flight on it.
    pub max_age_grace: Duration,
    /// From the first byte of an HTTP/1 request to the end of its head.
    pub request_head: Duration,
    /// From the handshake of an inbound HTTP connection to the end of the first request's head.
    pub first_request: Duration,
    /// From a change of leaf to the request that HTTP connections of an older one close.
    pub drain_after: Duration,
    /// From the removal of a root to the cut of HTTP connections whose peer it verified.
    pub root_drain: Duration,
}

impl Limits {
    /// The most that one side may have.
    pub fn places(&self) -> usize {
        self.max_connections.saturating_sub(self.kept_for_each_side)
    }
}
