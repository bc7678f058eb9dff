//! runtime

pub mod agent;
mod bypass_check;
pub mod check;
mod drain;
mod listeners;
pub mod log;
pub mod self_check;
pub mod shutdown;
mod workers;
