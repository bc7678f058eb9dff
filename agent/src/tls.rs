//! A TLS identity that rotates while it is used: the part of the agent that will be a library of its own.
//!
//! ```text
//! source ──► credential ──► identity ──► config ──► snapshot ══► loaded once by each connection
//! └────────────────────── reload ─────────────────────┘
//! ```
//!
//! Nothing here knows a command line, a metric or a proxy.

pub mod config;
pub mod credential;
mod crypto;
pub mod error_chain;
pub mod hex;
pub mod identity;
pub mod names;
pub mod peer;
pub mod reload;
pub mod san_pattern;
pub mod snapshot;
pub mod source;

#[cfg(test)]
pub(crate) mod fixtures;
