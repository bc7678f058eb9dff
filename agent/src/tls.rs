//! tls

pub mod config;
pub mod credential;
pub(crate) mod crypto;
pub mod error_chain;
pub mod hex;
pub mod identity;
pub mod names;
pub mod peer;
pub mod reload;
pub mod san_pattern;
pub mod snapshot;
pub mod source;
