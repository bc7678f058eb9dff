//! How the control plane grows: so many certificates in one authority, on a real API server, with a
//! simulated agent for each ([`agents`]) that shakes hands as a real one does. Prints what issuing all of
//! them takes, what the idle controller costs, one rotation, a whole rollover, memory and API requests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agents;
mod cost;
mod directory;
mod fleet;
mod site;

use std::process::ExitCode;

use cost::Row;
use directory::Directory;
use fleet::Fleet;

const USAGE: &str = "usage: scale [--json] [--directory] [--namespaces NUMBER] [COUNT...]

Creates COUNT certificates (default: 100 1000 10000, one after the other) in NUMBER namespaces (default: one for ten
certificates), and prints a line of what it cost for each: in a cluster, which needs etcd and kube-apiserver in
KUBEBUILDER_ASSETS (./tests/run scale sees to that), or with --directory in a directory, without an API server and without pods.";

struct Args {
    json: bool,
    directory: bool,
    namespaces: Option<usize>,
    counts: Vec<usize>,
}

fn main() -> ExitCode {
    let Some(args) = Args::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut rows = Vec::new();
    for count in args.counts {
        let namespaces = args.namespaces.unwrap_or(count.div_ceil(10));
        let row = if args.directory {
            Row::measure(&Directory::create(count, namespaces))
        } else {
            Row::measure(&Fleet::create(count, namespaces))
        };
        if !args.json {
            eprintln!("{row}\n");
        }
        rows.push(row);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows).unwrap());
    } else {
        println!("{}", Row::table(&rows));
    }
    ExitCode::SUCCESS
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let number = |word: &str| word.parse().ok().filter(|number| *number > 0);
        let mut args = Self { json: false, directory: false, namespaces: None, counts: Vec::new() };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => args.json = true,
                "--directory" => args.directory = true,
                "--namespaces" => args.namespaces = Some(number(&words.next()?)?),
                count => args.counts.push(number(count)?),
            }
        }
        if args.counts.is_empty() {
            args.counts = vec![100, 1_000, 10_000];
        }
        Some(args)
    }
}
