//! The settings file of notifications and external managers: YAML, together with the files with keys that it names,
//! as a Secret is mounted or a directory holds them. [`file`] reads and validates it, [`watch`] reads it again when
//! anything in it changes. Invalid settings change nothing: the last valid ones stay in force.

mod file;
mod senders;
mod topics;
mod watch;

pub use file::{ConfigError, NotifyConfig};
pub use watch::{ConfigWatch, Metrics, Rejected};

#[cfg(test)]
mod tests;
