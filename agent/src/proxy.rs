//! proxy

pub(crate) mod app_endpoint;
pub mod authorization;
pub(crate) mod context;
pub(crate) mod http;
pub mod inbound;
pub(crate) mod log_limiter;
pub mod outbound;
pub mod relay;
