//! config

pub(crate) mod args;
pub mod client_auth;
pub mod ports;
pub mod settings;
