//! Controller.

use std::process::ExitCode;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct ControllerArgs {}

pub fn main(_args: &ControllerArgs) -> ExitCode {
    ExitCode::FAILURE
}
