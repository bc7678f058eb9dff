//! config

pub(crate) mod args;
pub mod ports;
pub mod settings;
