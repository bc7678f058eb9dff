//! Configuration: arguments as they are written ([`args`]), and settings that can be run with.
//!
//! Every value of every flag is parsed in [`settings`], which collects all errors.

mod access_log;
pub(crate) mod args;
mod circles;
pub mod client_auth;
pub mod descriptors;
pub(crate) mod effective;
pub mod ineffective;
mod memory;
pub mod ports;
pub mod settings;
