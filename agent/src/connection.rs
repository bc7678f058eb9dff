//! connection

pub(crate) mod buffered_stream;
pub mod handshake;
pub mod limiter;
pub mod listener;
pub(crate) mod reaper;
pub mod tracker;
