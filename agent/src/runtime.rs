//! runtime

pub mod agent;
pub(crate) mod bypass_check;
pub mod check;
pub(crate) mod drain;
pub(crate) mod listeners;
pub mod log;
pub mod self_check;
pub mod shutdown;
pub(crate) mod workers;
