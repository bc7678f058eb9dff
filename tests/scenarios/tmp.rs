#![allow(clippy::unwrap_used, clippy::expect_used)]
mod cli;
mod conversions;
mod reference;
mod verdicts;
