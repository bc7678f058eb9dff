//! The fuzzer: inputs from a seed, through both proxies, for so many seconds.
#![allow(clippy::print_stderr)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use kit::smuggling::input::{Input, corpus};
use kit::smuggling::{Proxies, mutate};

/// Sends requests that parsers disagree about through the agent's proxies, and has nginx, HAProxy, Node.js and h11
/// read what comes out.
///
/// Prints each input of which something else was forwarded than was sent, or which parsers read differently, as a line
/// for tests/smuggling/corpus. Exits with 1 if there was one.
#[derive(Parser)]
#[command(version, name = "smuggle")]
struct Args {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the inputs are generated from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first input
    #[arg(long, default_value_t = 0)]
    index: u64,
    /// Inputs to run, if fewer than there is time for
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
    /// Agent to test [default: built from this tree]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Try the lines of this file as they are, instead of generated inputs
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Append the lines of inputs that were found
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(agent) = &args.agent {
        kit::agent::use_program("hotcert-agent", agent.canonicalize()?);
    }
    let begin = Instant::now();
    let mut inputs: Box<dyn Iterator<Item = (u64, Input)>> = match &args.corpus {
        Some(file) => {
            let lines = corpus(&std::fs::read_to_string(file)?);
            Box::new(lines.into_iter().map(|(at, input)| (at as u64, input)))
        }
        None => {
            let all: Vec<_> = kit::smuggling::corpus().into_iter().map(|(_, input)| input).collect();
            let indices = args.index..args.index.saturating_add(args.count);
            let seed = args.seed;
            Box::new(indices.map(move |index| (index, mutate::input(seed, index, &all))))
        }
    };
    let mut proxies = Proxies::default();
    let (mut count, mut found, mut said) = (0u64, 0u64, Instant::now());
    while begin.elapsed() < Duration::from_secs(args.seconds)
        && let Some((index, input)) = inputs.next()
    {
        count += 1;
        let faults = proxies.faults(&input);
        if !faults.is_empty() {
            found += 1;
            println!("# {index} of seed {}\n{}", args.seed, input.line());
            faults.iter().for_each(|fault| print!("  {fault}"));
            if let Some(file) = &args.into {
                let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
                writeln!(file, "{}", input.line())?;
            }
        }
        if said.elapsed() > Duration::from_secs(30) {
            said = Instant::now();
            eprintln!("==> {count} inputs, {found} found  [{} s]", begin.elapsed().as_secs());
        }
    }
    anyhow::ensure!(proxies.are_alive(), "an agent serves no more");
    println!("==> {count} inputs, {found} found  [{} s]", begin.elapsed().as_secs());
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
