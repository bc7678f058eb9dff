//! runtime

pub mod apply;
pub mod lease;
mod metrics;
pub mod reconcile;
