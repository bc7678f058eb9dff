//! The loop on a directory, with and without leadership.

mod reports;
mod stale_leaders;
