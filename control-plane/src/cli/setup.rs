//! `hotcert setup ibm` makes everything that rotation by events of IBM Secrets Manager needs, and `hotcert teardown ibm`
//! removes it. Both go by names and marks at IBM alone: run again, they continue where they were.
//!
//! [`steps`] has the one sequence of requests; [`api`] sends them, or prints them where nothing is to be sent.

mod api;
mod args;
mod calls;
mod certificate;
mod event_steps;
mod files;
mod instance_steps;
mod names;
mod progress;
mod secret_step;
mod settings;
mod steps;
mod teardown;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hotcert_log::errln;

use args::{SetupIbmArgs, TeardownIbmArgs};

#[derive(Debug, Args)]
pub struct SetupArgs {
    #[command(subcommand)]
    provider: SetupProvider,
}

#[derive(Debug, Subcommand)]
enum SetupProvider {
    /// Make what rotation by events of IBM Secrets Manager needs, and print the settings for it
    Ibm(Box<SetupIbmArgs>),
}

#[derive(Debug, Args)]
pub struct TeardownArgs {
    #[command(subcommand)]
    provider: TeardownProvider,
}

#[derive(Debug, Subcommand)]
enum TeardownProvider {
    /// Remove what hotcert setup ibm has made, and nothing else
    Ibm(TeardownIbmArgs),
}

pub(super) fn run_setup(args: &SetupArgs) -> ExitCode {
    let SetupProvider::Ibm(args) = &args.provider;
    run(steps::run(args))
}

pub(super) fn run_teardown(args: &TeardownArgs) -> ExitCode {
    let TeardownProvider::Ibm(args) = &args.provider;
    run(teardown::run(args))
}

fn run(work: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            errln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => {
                Err("interrupted: what was done stays; run the same command again to continue".into())
            }
        }
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
