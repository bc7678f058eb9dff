//! Fuzzing by hand: what every fuzzer is told, and how it goes through its inputs.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it says how far it is.
const REPORT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Fuzzing {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the inputs are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first input
    #[arg(long, default_value_t = 0)]
    index: u64,
    /// Inputs to try, if fewer than there is time for
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
    /// Try the lines of this file as they are, instead of inputs that are made
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Append the lines of what was found
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

/// How far it has come.
#[derive(Default)]
pub struct Tally {
    pub inputs: u64,
    pub found: u64,
}

impl Tally {
    pub fn exit_code(&self) -> ExitCode {
        if self.found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl Fuzzing {
    /// The inputs of the corpus, which `parse` reads, or those that `make` makes of the seed and an index.
    pub fn inputs<T: 'static>(
        &self,
        parse: impl FnOnce(&str) -> anyhow::Result<Vec<T>>,
        make: impl Fn(u64, u64) -> T + 'static,
    ) -> anyhow::Result<Box<dyn Iterator<Item = T>>> {
        let seed = self.seed;
        Ok(match &self.corpus {
            Some(file) => Box::new(parse(&std::fs::read_to_string(file)?)?.into_iter()),
            None => {
                let indices = self.index..self.index.saturating_add(self.count);
                Box::new(indices.map(move |index| make(seed, index)))
            }
        })
    }

    /// Tries inputs as long as there is time. What is wrong with one is printed as its line with a comment in front.
    pub fn run<T>(
        &self,
        inputs: impl Iterator<Item = T>,
        line: impl Fn(&T) -> String,
        mut faults: impl FnMut(&T) -> Vec<String>,
    ) -> anyhow::Result<Tally> {
        let (begin, mut said, mut tally) = (Instant::now(), Instant::now(), Tally::default());
        for (at, input) in (self.index..).zip(inputs) {
            if begin.elapsed() >= Duration::from_secs(self.seconds) {
                break;
            }
            tally.inputs += 1;
            let faults = faults(&input);
            if !faults.is_empty() {
                tally.found += 1;
                let comments: String = faults
                    .iter()
                    .flat_map(|fault| fault.lines())
                    .map(|fault| format!("#   {fault}\n"))
                    .collect();
                let lines = format!("# {at} of seed {}\n{comments}{}\n", self.seed, line(&input));
                print!("{lines}");
                if let Some(file) = &self.into {
                    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
                    file.write_all(lines.as_bytes())?;
                }
            }
            if said.elapsed() > REPORT {
                said = Instant::now();
                eprintln!(
                    "{} inputs, {} found  [{} s]",
                    tally.inputs,
                    tally.found,
                    begin.elapsed().as_secs()
                );
            }
        }
        println!("{} inputs, {} found  [{} s]", tally.inputs, tally.found, begin.elapsed().as_secs());
        Ok(tally)
    }
}
