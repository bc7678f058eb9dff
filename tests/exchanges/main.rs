//! Runs generated exchanges with agents and without, as `exchanges::` of the scenarios does, for other seeds, parts and
//! agents.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kit::exchanges::{SEED, Ways, generate, report};

/// Compares what an app and its client see with agents and without.
///
/// Exits with 1 if they see something else than documents say, or than nginx makes of it, and prints what.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// What the exchanges are generated from
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Exchanges to run
    #[arg(long, default_value_t = 2400)]
    count: u64,
    /// The first of them, or with --count 1 the only one
    #[arg(long, default_value_t = 0)]
    index: u64,
    /// Print every exchange that is run
    #[arg(long)]
    verbose: bool,
    /// Agent to test [default: built from this tree]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(agent) = args.agent {
        kit::agent::use_program("hotcert-agent", agent);
    }
    let indices = args.index..args.index + args.count;
    let exchanges: Vec<_> = indices.map(|index| generate::exchange(args.seed, index)).collect();
    if args.verbose {
        exchanges.iter().for_each(|exchange| print!("{exchange}"));
    }
    let mut ways = Ways::default();
    let differing = ways.differences(&exchanges);
    if args.verbose {
        print!("{}", ways.nginx_log());
    }
    print!("{}", report(args.seed, &differing));
    if differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
