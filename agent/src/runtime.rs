//! The agent as a process: [`agent`] binds, starts and ends its parts in order; the other modules are those
//! parts that belong to no single connection.

pub mod agent;
mod bypass_check;
pub mod check_command;
mod drain;
mod give_back;
mod listeners;
pub mod self_check;
pub mod shutdown;
mod workers;
