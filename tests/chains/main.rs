//! Suites of chains by hand, and the fuzzer of chains for as long as is wanted.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kit::chains::fuzz::{self, Fuzz};
use kit::chains::judges::Judges;
use kit::chains::{Case, limbo, mutate, pkits};
use kit::fuzzing::Fuzzing;

/// Has chains of certificates judged by hotcert, OpenSSL, Go and webpki alone, and prints where they disagree.
///
/// hotcert is asked twice: what `hotcert-agent check` would say of an identity (of a case with a private key), and what an
/// agent would say of a peer that shows the chain in a handshake. The programs of the others are installed by
/// tests/clients/install.
#[derive(Parser)]
#[command(version, name = "chains")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a suite in the JSON of x509-limbo, which https://x509-limbo.com describes
    Suite {
        /// The file, such as limbo.json of the repository C2SP/x509-limbo
        path: PathBuf,
        /// Show the cases whose id has this in it
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Show the cases that are judged as the suite has it, too
        #[arg(long)]
        all: bool,
    },
    /// Judge NIST's suite of certification paths (PKITS)
    Pkits {
        /// Show the cases whose id has this in it
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Show the cases that are judged as the suite has it, too
        #[arg(long)]
        all: bool,
    },
    /// Judge chains with faults in them, made from a seed, for so many seconds
    ///
    /// Prints each that hotcert accepts and webpki, OpenSSL or Go refuses without a reason that is known, and each that is
    /// judged otherwise as one's own than as a peer's, as a line for tests/chains/corpus. Exits with 1 if there was one.
    Fuzz(Fuzzing),
}

fn main() -> anyhow::Result<ExitCode> {
    let (cases, only, all) = match Args::parse().command {
        Command::Suite { path, only, all } => (limbo::cases(&std::fs::read(path)?)?, only, all),
        Command::Pkits { only, all } => (pkits::cases(), only, all),
        Command::Fuzz(fuzzing) => return fuzz_for(&fuzzing),
    };
    Ok(judge(&cases, only.as_deref().unwrap_or_default(), all))
}

/// Fails if a chain is accepted that webpki refuses, or one's own chain is judged otherwise than a peer's.
fn judge(cases: &[Case], only: &str, all: bool) -> ExitCode {
    let mut judges = Judges::default();
    let (mut count, mut agreed, mut faults) = (0, 0, 0);
    for case in cases.iter().filter(|case| case.id.contains(only)) {
        let opinions = judges.ask(case);
        let accepted = opinions.is_accepted();
        let agrees = case.expected.is_none_or(|expected| expected == accepted);
        let is_fault = opinions.is_inconsistent(case) || accepted && opinions.webpki.is_err();
        (count, agreed, faults) = (count + 1, agreed + usize::from(agrees), faults + usize::from(is_fault));
        if all || !agrees || is_fault {
            let wanted = match case.expected {
                Some(true) => "accepted by the suite",
                Some(false) => "refused by the suite",
                None => "",
            };
            println!("{}: {wanted}\n{opinions}", case.id);
        }
    }
    println!("{count} chains, {agreed} judged as the suite has it, {faults} faults");
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz_for(fuzzing: &Fuzzing) -> anyhow::Result<ExitCode> {
    let mut judges = Fuzz::default();
    let cases = fuzzing.inputs(fuzz::cases, mutate::case)?;
    let tally = fuzzing.run(cases, fuzz::line, |case| judges.faults(case))?;
    println!("{} accepted, {} refused that webpki alone accepts", judges.accepted, judges.stricter);
    Ok(tally.exit_code())
}
