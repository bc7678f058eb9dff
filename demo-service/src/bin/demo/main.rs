//! The demonstration: certificates rotate under load, on one machine, without a cluster.
//!
//! ```text
//! load ─► storefront's agent ─► storefront ─► storefront's agent ─► payments' agent ─► payments
//!     mTLS                 HTTP          HTTP                  mTLS               HTTP
//! ```
//!
//! [`fleet`] starts the four in the middle as processes ([`child`]), [`story`] has [`control`], the
//! control plane, rotate their certificates, and breaks them ([`candidate`]); [`witness`] looks at every
//! round of it. [`load`] and [`prober`] ask from [`outside`], [`sightings`] and [`tally`] write down what
//! came back, [`progress`] and [`summary`] show it.

mod candidate;
mod child;
mod connection;
mod control;
mod fleet;
mod identity;
mod load;
mod outside;
mod prober;
mod progress;
mod sightings;
mod story;
mod summary;
mod tally;
mod witness;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};
use demo_service::service::Config;
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::{Fleet, Workplace};
use crate::identity::{PAYMENTS, STOREFRONT, front, spiffe_id};
use crate::load::{Load, Target};
use crate::progress::{LiveLine, Progress};
use crate::story::Beginning;
use crate::summary::Summary;
use crate::tally::Tally;

const INTERRUPTED: u8 = 130;

/// Rotates TLS certificates under load and counts what goes wrong
///
/// Two services that speak plain HTTP, storefront and payments, each behind its own hotcert-agent.
/// A client outside asks storefront, which asks payments, over connections that are kept and over a
/// new connection a request. Meanwhile hotcert's control plane, on a directory, gives both services new
/// leaves every second and, half way through, a new root; now and then a candidate that is broken (key
/// of another certificate, half a file, expired) is slipped in, and the control plane replaces it. Exits
/// with 1 if a request failed or a broken candidate was served.
#[derive(Parser)]
#[command(version, after_long_help = NUMBERS, args_conflicts_with_subcommands = true)]
struct Cli {
    /// How long the load runs
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    seconds: u64,
    /// Print one JSON object and nothing else to stdout
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<ChildProcess>,
}

const NUMBERS: &str = "\
All numbers are measured by the client outside:
  failed                a request that was not answered with 200 and both services' names, or
                        whose connection was cut, or a connection that could not be opened. One
                        that the server asks to close between requests is reopened: no failure.
  swap_to_served_ms     from the rename that publishes a leaf, as the file system dates it, to the
                        end of the first handshake that shows it, dialling without a pause
  broken_served         broken or unknown leaves (SHA-256) that were shown in any handshake
  old_connections_kept  keep-alive connections that answered a request when the leaf they were
                        opened under had been replaced and its successor already been served
  request_ms            from sending a request to the last byte of the answer, without the
                        handshake; while rotating: those that overlap the time above, or
                        the root rollover, or the 100 ms after either";

/// What this program runs as its own children.
#[derive(Subcommand)]
enum ChildProcess {
    #[command(hide = true, disable_help_flag = true)]
    Agent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    #[command(hide = true)]
    Service(Config),
}

fn main() -> ExitCode {
    let Cli { seconds, json, child } = Cli::parse();
    match child {
        None => demonstrate(Duration::from_secs(seconds), json),
        Some(ChildProcess::Agent { arguments }) => {
            child::die_with_parent();
            hotcert_agent::cli::main_from([OsString::from("hotcert-agent")].into_iter().chain(arguments))
        }
        Some(ChildProcess::Service(config)) => {
            child::die_with_parent();
            child::service(config).map_or_else(failure, |()| ExitCode::SUCCESS)
        }
    }
}

fn failure(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("demo: {error}");
    ExitCode::FAILURE
}

fn demonstrate(length: Duration, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(format!("cannot start: {error}")),
    };
    let workplace = match Workplace::new() {
        Ok(workplace) => workplace,
        Err(error) => return failure(format!("cannot make a temporary directory: {error}")),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(&workplace, length) => Some(outcome),
            _ = told_to_end() => None,
        }
    });
    let Some(outcome) = outcome else { return ExitCode::from(INTERRUPTED) };
    let exit = match &outcome {
        Ok(summary) => {
            report(summary, json);
            if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failure(format!("{error:#}")),
    };
    if !matches!(&outcome, Ok(summary) if summary.is_success()) {
        eprintln!("logs of the agents and services: {}", workplace.keep_logs().display());
    }
    exit
}

async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

fn report(summary: &Summary, json: bool) {
    if json {
        match serde_json::to_string(summary) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("demo: the summary cannot be written: {error}"),
        }
        return;
    }
    println!("{summary}");
    if summary.is_success() {
        println!("Every request was answered, and nothing broken was served.");
    } else {
        println!("FAILED: requests were lost or something broken was served.");
    }
}

async fn run(workplace: &Workplace, length: Duration) -> anyhow::Result<Summary> {
    let beginning = Beginning::new(workplace).await?;
    let fleet = Fleet::start(workplace, &spiffe_id(PAYMENTS)).await?;
    let (outside, sightings) = (beginning.outside(workplace)?, beginning.sightings().clone());
    let (tally, progress) = (Arc::new(Tally::default()), Arc::new(Progress::new()));
    let target = Target {
        front: front(&fleet, STOREFRONT),
        outside: outside.clone(),
        sightings: sightings.clone(),
        tally: tally.clone(),
    };
    eprintln!(
        "storefront and payments run behind an agent each; rotating their certificates under load for {} s",
        length.as_secs()
    );
    let begun = Instant::now();
    let live = LiveLine::start(progress.clone(), tally.clone(), sightings.clone());
    let load = Load::start(&target);
    let story = beginning.story(workplace, fleet, outside, tally.clone(), progress.clone());
    let fleet = story.tell(length).await.with_context(|| match tally.reasons().first() {
        Some(reason) => {
            format!("broken off after {} s; first failure seen: {reason}", begun.elapsed().as_secs())
        }
        None => format!("broken off after {} s; nothing had failed before", begun.elapsed().as_secs()),
    })?;
    load.stop().await;
    drop((fleet, live));
    Ok(Summary::new(begun.elapsed(), &tally, &progress, &sightings))
}
