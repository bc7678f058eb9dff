//! Connections, below any protocol: how they are accepted, handshaken, bounded, tracked and ended.
//!
//! [`listener`] accepts, [`handshake`] turns a socket into a verified peer, [`tracker`] keeps a record of each for as long as it is open, and the reaper asks
//! those that are due to close. Nothing here knows a route, a request or an app.

pub(crate) mod buffered_stream;
pub(crate) mod error_chain;
pub mod handshake;
pub mod listener;
pub mod memory;
pub(crate) mod pass_on_writes;
mod reaper;
pub(crate) mod socket;
pub mod tasks;
pub(crate) mod tracked_stream;
pub mod tracker;
