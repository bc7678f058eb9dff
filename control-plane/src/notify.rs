//! notify

pub mod config;
pub mod dispatcher;
pub mod receiver;
pub mod signature;
