//! The fuzzer: inputs from a seed, through both proxies, for so many seconds.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kit::fuzzing::Fuzzing;
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
    #[command(flatten)]
    fuzzing: Fuzzing,
    /// Agent to test [default: built from this tree]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(agent) = &args.agent {
        kit::agent::use_program("hotcert-agent", agent.canonicalize()?);
    }
    let all: Vec<_> = kit::smuggling::corpus().into_iter().map(|(_, input)| input).collect();
    let parse = |text: &str| Ok(corpus(text).into_iter().map(|(_, input)| input).collect());
    let inputs = args.fuzzing.inputs(parse, move |seed, index| mutate::input(seed, index, &all))?;
    let mut proxies = Proxies::default();
    let tally = args.fuzzing.run(inputs, Input::line, |input| proxies.faults(input))?;
    anyhow::ensure!(proxies.are_alive(), "an agent serves no more");
    Ok(tally.exit_code())
}
