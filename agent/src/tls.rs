//! tls

pub mod config;
pub mod credential;
pub mod hex;
pub mod identity;
pub mod peer;
pub mod reload;
pub mod snapshot;
pub mod source;
