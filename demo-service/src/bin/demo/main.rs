//! The demonstration: certificates rotate under load, on one machine, without a cluster.
//!
//! ```text
//! load ─► storefront's agent ─► storefront ─► storefront's agent ─► payments' agent ─► payments
//!     mTLS                 HTTP          HTTP                  mTLS               HTTP
//!     mTLS                 gRPC          gRPC                  mTLS               gRPC
//! ```
//!
//! [`fleet`] starts the agents and services as processes ([`child`]). [`scenario`] has [`control`], the control plane,
//! rotate their certificates, and writes broken ones ([`candidate`]); [`observer`] observes every round. [`load`] and
//! [`prober`] connect with [`client`]; the load sends its requests on a [`connection`] and its calls on a
//! [`grpc_connection`]. [`leaf_tracker`] and [`load_stats`] record the results, [`progress`] and [`summary`] show them.

mod candidate;
mod child;
mod client;
mod connection;
mod control;
mod fleet;
mod grpc_connection;
mod identity;
mod leaf_tracker;
mod load;
mod load_stats;
mod observer;
mod prober;
mod progress;
mod scenario;
mod summary;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};
use demo_service::service::Config;
use hotcert_log::{errln, outln};
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::{Fleet, Workspace};
use crate::identity::{PAYMENTS, STOREFRONT, spiffe_id};
use crate::load::{Load, Target};
use crate::load_stats::LoadStats;
use crate::progress::{LiveLine, Progress};
use crate::scenario::Setup;
use crate::summary::Summary;

const INTERRUPTED: u8 = 130;

/// Rotates TLS certificates under load and counts failures
///
/// Runs storefront and payments, each a plain HTTP and a gRPC service behind its own hotcert-agent. A client sends
/// requests to storefront, which calls payments, over keep-alive connections and over a new connection for each
/// request, and calls it by gRPC in the same ways. Meanwhile hotcert's control plane, on a directory, issues both
/// services a new leaf every second and, half way through, rolls over the root. At intervals a broken candidate
/// (key of another certificate, truncated file, expired) is written to a volume, and the control plane replaces
/// it. Exits with 1 if a request or a call failed or a broken candidate was served.
#[derive(Parser)]
#[command(version, after_long_help = NUMBERS, args_conflicts_with_subcommands = true)]
struct Cli {
    /// How long the load runs
    #[arg(long, default_value_t = 30, value_parser = seconds)]
    seconds: u64,
    /// Print one JSON object and nothing else to stdout
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<ChildProcess>,
}

fn seconds(text: &str) -> Result<u64, String> {
    let parsed = text.parse().ok().filter(|seconds| (3..=86_400).contains(seconds));
    parsed.ok_or_else(|| "write a number of seconds from 3 to 86400".into())
}

const NUMBERS: &str = "\
All numbers are measured by the client:
  failed                requests without a 200 response that names both services, requests whose
                        connection was cut, and connections that could not be opened. A connection
                        that the server closes between requests is reopened and not a failure.
  swap_to_served_ms     from the rename that publishes a leaf, by the file system's clock, to the
                        end of the first handshake that shows it, dialling without a pause
  broken_served         broken or unknown leaves (by SHA-256) that were shown in any handshake
  old_connections_kept  keep-alive connections that served a request after the leaf they were
                        opened under had been replaced and its successor had been served
  request_ms            from sending a request to the last byte of the response, without the
                        handshake; while rotating: requests that overlap the interval above,
                        the root rollover, or the 100 ms after either
  grpc                  calls of the gRPC service, which are answered by storefront and payments, and
                        longest_ms: from the call to its status, without the handshake. A call that
                        was never sent, as its connection was closing, is sent again on a new one";

/// The hidden subcommands that this program runs as its children.
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
    errln!("demo: {error}");
    ExitCode::FAILURE
}

fn demonstrate(length: Duration, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(format!("cannot start: {error}")),
    };
    let workspace = match Workspace::new() {
        Ok(workspace) => workspace,
        Err(error) => return failure(format!("cannot create a temporary directory: {error}")),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(&workspace, length) => Some(outcome),
            _ = interrupted() => None,
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
        errln!("logs of the agents and services: {}", workspace.keep_logs().display());
    }
    exit
}

/// Completes on SIGINT or SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

fn report(summary: &Summary, json: bool) {
    if json {
        match serde_json::to_string(summary) {
            Ok(line) => outln!("{line}"),
            Err(error) => errln!("demo: cannot serialize the summary: {error}"),
        }
        return;
    }
    outln!("{summary}");
    if summary.is_success() {
        outln!("No request or call failed, and no broken certificate was served.");
    } else {
        outln!("FAILED: requests or calls failed, or a broken certificate was served.");
    }
}

async fn run(workspace: &Workspace, length: Duration) -> anyhow::Result<Summary> {
    let setup = Setup::new(workspace).await?;
    let fleet = Fleet::start(workspace, &spiffe_id(PAYMENTS)).await?;
    let (client, leaf_tracker) = (setup.client(workspace)?, setup.leaf_tracker().clone());
    let (load_stats, progress) = (Arc::new(LoadStats::default()), Arc::new(Progress::new()));
    let grpc_stats = Arc::new(LoadStats::default());
    let target = Target {
        service_address: fleet.service_address(STOREFRONT),
        grpc_address: fleet.grpc_address(STOREFRONT),
        grpc_stats: grpc_stats.clone(),
        client: client.clone(),
        leaf_tracker: leaf_tracker.clone(),
        load_stats: load_stats.clone(),
    };
    errln!(
        "storefront and payments run, each behind an agent; rotating their certificates under load for {} s",
        length.as_secs()
    );
    let begun = Instant::now();
    let live = LiveLine::start(progress.clone(), load_stats.clone(), leaf_tracker.clone());
    let load = Load::start(&target);
    let scenario = setup.scenario(workspace, fleet, client, load_stats.clone(), progress.clone());
    let fleet = scenario.run(length).await.with_context(|| {
        match [load_stats.reasons(), grpc_stats.reasons()].concat().first() {
            Some(reason) => {
                format!("aborted after {} s; first failed request: {reason}", begun.elapsed().as_secs())
            }
            None => format!("aborted after {} s; no request had failed", begun.elapsed().as_secs()),
        }
    })?;
    load.stop().await;
    drop((fleet, live));
    Ok(Summary::new(begun.elapsed(), &load_stats, &grpc_stats, &progress, &leaf_tracker))
}
