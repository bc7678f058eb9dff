//! What the agent costs beside other terminators of mTLS, and what is lost with it: hotcert-agent, Envoy,
//! HAProxy, nginx, stunnel and hitch before the same plain service, under the same load ([`load`], [`grpc`]),
//! one after the other in every round. What counts is the CPU time of the terminator's own processes for the
//! same work: far steadier than the clock.
#![allow(clippy::print_stderr)]

mod backend;
mod bench;
mod chart;
mod connection;
mod figure;
mod floor;
mod grpc;
mod http2;
mod load;
mod message;
mod peers;
mod process;
mod report;
mod rows;
mod tally;
mod visit;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum as _};
use kit::pki::Pki;

use bench::{Amount, Bench};
use peers::{Peer, Programs};
use process::Cores;
use report::Report;
use rows::Row;

/// Measures hotcert-agent beside other terminators of mTLS and prints a table. Run it by ./tests/bench, which
/// builds and installs what it needs.
#[derive(Parser)]
#[command(name = "./tests/bench", version)]
struct Args {
    /// Only this row; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Only this one beside the agent (envoy, haproxy, nginx, stunnel, hitch, no-tls); may be given several times
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Rounds in which each is measured once
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Little of everything: whether it works, not how well
    #[arg(long)]
    smoke: bool,
    /// Where the table, the JSON and the chart go
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    into: PathBuf,
    /// The agent's program
    #[arg(long, value_name = "PATH")]
    agent: PathBuf,
    /// Envoy's program
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let begin = Instant::now();
    let peers = chosen(&args.peer)?;
    let cores = Cores::part()?;
    if cores.is_none() {
        eprintln!("there is but one core: the load and what it measures are in each other's way");
    }
    // As kubelet mounts Secrets: in memory.
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
    let mut amount = if args.smoke { Amount::SMOKE } else { Amount::FULL };
    if let Some(rounds) = args.rounds {
        (amount.rounds, amount.rotations) = (rounds.max(1), rounds.max(1));
    }
    if let Some(seconds) = args.seconds {
        amount.time = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    }
    let pki = Pki::default();
    let client = pki.leaf("client");
    let programs = Programs { agent: args.agent, envoy: args.envoy };
    let app = backend::start::<backend::Http>()?;
    let grpc_app = backend::start::<grpc::Service>()?;
    let mut terminators = Vec::new();
    for peer in &peers {
        terminators.push((peer.name(), version(*peer, &programs)?));
    }
    let bench = Bench {
        programs,
        peers,
        cores,
        pki,
        client,
        app,
        grpc_app,
        amount,
        directory: directory.path().to_owned(),
        sites: Cell::new(0),
    };
    let rows = if args.only.is_empty() { Row::value_variants().to_vec() } else { args.only };
    let mut figures = Vec::new();
    for row in rows {
        eprintln!("==> {row:?}  [{} s]", begin.elapsed().as_secs());
        let mut measured = row.measure(&bench)?;
        measured.iter_mut().for_each(figure::Figure::settle);
        figures.extend(measured);
    }
    let report = Report {
        machine: machine(),
        terminators,
        rounds: bench.amount.rounds,
        seconds_each: bench.amount.time.as_secs_f64(),
        figures,
    };
    let table = report.markdown();
    std::fs::create_dir_all(&args.into)?;
    let json = serde_json::to_string_pretty(&report)?;
    for (name, content) in [("bench.md", &table), ("bench.json", &json), ("bench.svg", &chart::draw(&report))]
    {
        let path = args.into.join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    println!("{table}");
    eprintln!("==> table, JSON and chart in {}  [{} s]", args.into.display(), begin.elapsed().as_secs());
    // That a peer cannot do something is a finding; that the agent cannot is a fault. What has no unit counts
    // what must not happen.
    for figure in &report.figures {
        for ours in figure.measured.iter().filter(|measured| measured.name == figure::OURS) {
            ensure!(ours.failed.is_none(), "{}: {:?}", figure.title(), ours.failed);
            ensure!(
                !figure.unit.is_empty() || ours.median == Some(0.0),
                "{}: {:?}",
                figure.title(),
                ours.median
            );
        }
    }
    Ok(())
}

/// The agent, and all or those that were asked for.
fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static dyn Peer>> {
    let spelled = |peer: &dyn Peer| peer.name().to_lowercase().replace(' ', "-");
    let known = |name: &String| peers::ALL.iter().any(|peer| spelled(*peer) == name.to_lowercase());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<String> = peers::ALL.iter().map(|peer| spelled(*peer)).collect();
        anyhow::bail!("--peer {unknown}: there are {}", all.join(", "));
    }
    let wanted = |peer: &&dyn Peer| {
        names.is_empty()
            || peer.name() == figure::OURS
            || names.iter().any(|name| spelled(*peer) == name.to_lowercase())
    };
    Ok(peers::ALL.iter().copied().filter(wanted).collect())
}

fn version(peer: &dyn Peer, programs: &Programs) -> anyhow::Result<String> {
    let program = rows::find(&peer.program(programs))?;
    let output = Command::new(&program)
        .args(peer.version())
        .output()
        .with_context(|| program.display().to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let is_version =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    let words = text.split(|c: char| c.is_whitespace() || c == '/');
    let found = words.clone().find(is_version).unwrap_or("of unknown version");
    Ok(found.trim_end_matches(',').into())
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} cores of {}", model.map_or("a processor without a name", |(_, model)| model.trim()))
}
