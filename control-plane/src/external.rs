//! external

pub mod http_client;
pub mod manager;
pub mod sync;
