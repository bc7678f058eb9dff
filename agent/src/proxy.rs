//! The data path: plain traffic of the app on one side, mTLS on the other.
//!
//! [`inbound`] carries clients to the app, [`outbound`] the app to servers; each by bytes (`relay`) or by
//! HTTP requests (`http`: versions, pools, upgrades, gRPC). What both share is in [`context`]; [`access_log`] and
//! [`request_latency`] are told what passes. A connection loads the current snapshot once; nothing
//! here knows how it came to be.

pub(crate) mod access_log;
pub(crate) mod address;
pub(crate) mod app_endpoint;
pub mod authorization;
pub(crate) mod context;
pub(crate) mod http;
pub mod inbound;
pub mod outbound;
pub(crate) mod own_listeners;
pub mod relay;
mod request_error;
pub(crate) mod request_latency;
pub mod route_protocol;
