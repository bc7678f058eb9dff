//! What strangers, peers, probes and a broken log may cost: each row attacks the real programs, with an honest
//! client beside, and compares the same load at rest and under attack in one run. Attacks run in processes of
//! their own ([`attacker`]); the honest client ([`honest`]) asks at a fixed rate, whatever becomes of its
//! requests, so that an agent that stalls cannot hide behind a client that waits.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

mod app;
mod attacker;
mod compared;
mod figures;
mod flood;
mod honest;
mod http2;
mod rows;
mod usage;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use figures::{Line, table};
use rows::{ROWS, Row};

/// How long each row looks.
#[derive(Clone, Copy)]
pub struct Times {
    /// Before the attack, and again after it.
    pub rest: Duration,
    pub attack: Duration,
    /// From the end of the attack to the second rest.
    pub settle: Duration,
}

impl Times {
    /// For each attack of a row that has several.
    pub fn each(self) -> Self {
        let part = |time: Duration| time * 3 / 5;
        Self { rest: part(self.rest), attack: part(self.attack), settle: self.settle }
    }

    const FULL: Self = Self {
        rest: Duration::from_secs(4),
        attack: Duration::from_secs(10),
        settle: Duration::from_secs(2),
    };
    /// All rows within two minutes.
    const SHORT: Self = Self {
        rest: Duration::from_millis(800),
        attack: Duration::from_millis(2200),
        settle: Duration::from_millis(400),
    };
}

/// Attacks the real agent and the real controller, and prints what it costs an honest client beside.
///
/// Every row starts programs of its own on loopback, measures an honest client at rest, under attack and at rest
/// again, and holds the figures against a bound. A row that misses one is measured twice more. Exits with 1 if a
/// bound is still not held.
#[derive(Parser)]
#[command(name = "./tests/hostile", version, after_help = HELP)]
struct Args {
    /// Rows to run [default: all]; --list shows them
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// Two minutes for all rows together instead of about six; longer where a bound is not held at once
    #[arg(long)]
    short: bool,
    /// Print the rows and what each does, and exit
    #[arg(long)]
    list: bool,
    /// Agent to attack, such as one of another release [default: built from this tree]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Controller (the program hotcert) to attack [default: built from this tree]
    #[arg(long, value_name = "PATH")]
    controller: Option<PathBuf>,
}

const HELP: &str = "How to read the table:
  bound         what is promised; \"or 3× rest\" lets a busy machine be slow, if it is at rest too
  at rest       the same load without the attack, in the same run: the quieter of before and after
  under attack  the figure that is held against the bound
  p50/p99       from when a request was due to its whole response; without one in 2 s it failed
  cores         CPU time a second of the program, the attackers, the honest client with the app,
                and others on the machine. Attackers run at nice 10: they take what is left. Then
                the steps (connections, handshakes, writes) that the attackers took to be in
                place, and a second from then on

Attackers connect from 127.0.0.66, honest clients from 127.0.0.1: a source has its share too.

Examples:
  ./tests/hostile                        every row, about six minutes
  ./tests/hostile --short                every row within two minutes, as in ./tests/run
  ./tests/hostile chains hellos          two rows
  ./tests/hostile --agent PATH frames    one row, against an agent that was built elsewhere";

/// So often is a row measured again that did not hold its bounds.
const AGAIN: usize = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some(attacker::COMMAND) => attacker::run(&words[1..]).map(|()| true),
        _ => run(&Args::parse()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every bound was held.
fn run(args: &Args) -> anyhow::Result<bool> {
    if args.list {
        for row in ROWS {
            println!("{:<24}{}", row.name, row.attack);
        }
        return Ok(true);
    }
    for (name, path) in [("hotcert-agent", &args.agent), ("hotcert", &args.controller)] {
        if let Some(path) = path {
            let path = path.canonicalize().with_context(|| format!("{} is not there", path.display()))?;
            kit::agent::use_program(name, path);
        }
    }
    raise_descriptors()?;
    let times = if args.short { Times::SHORT } else { Times::FULL };
    let begin = Instant::now();
    let mut results = Vec::new();
    for row in chosen(&args.rows)? {
        eprintln!("==> {}: {}  [{} s]", row.name, row.attack, begin.elapsed().as_secs());
        let mut lines = measure(row, times);
        // A machine that was busy for a moment is no regression; that misses its bounds each time.
        for again in 0..=AGAIN {
            let missed = lines.iter().filter(|line| !line.held);
            missed.clone().for_each(|line| eprintln!("    not held: {line}"));
            if again == AGAIN || missed.count() == 0 {
                break;
            }
            eprintln!("    again, and longer");
            lines = measure(row, Times::FULL);
        }
        results.push((row, lines));
    }
    println!("{}", table(&results));
    let missed = results.iter().flat_map(|(_, lines)| lines).filter(|line| !line.held).count();
    eprintln!("==> {missed} bounds not held  [{} s]", begin.elapsed().as_secs());
    Ok(missed == 0)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| match ROWS.iter().find(|row| row.name == name) {
        Some(row) => Ok(row),
        None => bail!("there is no row {name}; ./tests/hostile --list shows them"),
    };
    names.iter().map(find).collect()
}

/// A row that cannot be measured holds nothing. The kit panics where a program does not do what it has to.
fn measure(row: &Row, times: Times) -> Vec<Line> {
    match catch_unwind(AssertUnwindSafe(|| (row.measure)(times))) {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => vec![Line::not_measured(format!("{error:#}"))],
        Err(_) => vec![Line::not_measured("the row panicked, see above".into())],
    }
}

/// The soft limit of shells is for programs that use `select`.
fn raise_descriptors() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("descriptors")
}
