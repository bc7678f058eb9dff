//! connection

pub(crate) mod buffered_stream;
pub mod handshake;
pub mod limiter;
pub mod listener;
mod reaper;
pub mod tracker;
