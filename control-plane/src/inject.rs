//! Inject.

use std::process::ExitCode;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct InjectArgs {}

pub fn main(_args: &InjectArgs) -> ExitCode {
    ExitCode::FAILURE
}
