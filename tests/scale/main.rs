//! How the control plane grows: so many certificates in one authority, on a real API server, with a
//! simulated agent for each ([`agents`]) that shakes hands as a real one does. Prints what issuing all of
//! them takes, what the idle controller costs, one rotation, a whole rollover, memory and API requests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agents;
mod cost;
mod fleet;

use std::process::ExitCode;

use cost::Row;
use fleet::Fleet;

const USAGE: &str = "usage: scale [--json] [--namespaces NUMBER] [COUNT...]

Creates COUNT certificates (default: 100 1000 10000, one after the other) in NUMBER namespaces (default: one for ten
certificates), and prints a line of what it cost for each. Needs etcd and kube-apiserver in KUBEBUILDER_ASSETS: ./tests/run scale sees to that.";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let json = args.iter().any(|arg| arg == "--json");
    args.retain(|arg| arg != "--json");
    let mut namespaces = None;
    if let Some(at) = args.iter().position(|arg| arg == "--namespaces") {
        let number = args.get(at + 1).and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        let Some(number) = number else {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        };
        namespaces = Some(number);
        args.drain(at..at + 2);
    }
    let counts: Option<Vec<usize>> =
        args.iter().map(|arg| arg.parse().ok().filter(|count| *count > 0)).collect();
    let Some(mut counts) = counts else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if counts.is_empty() {
        counts = vec![100, 1_000, 10_000];
    }
    let mut rows = Vec::new();
    for count in counts {
        let row = measure(count, namespaces.unwrap_or(count.div_ceil(10)));
        if !json {
            eprintln!("{row}\n");
        }
        rows.push(row);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows).unwrap());
    } else {
        println!("{}", Row::table(&rows));
    }
    ExitCode::SUCCESS
}

fn measure(count: usize, namespaces: usize) -> Row {
    let fleet = Fleet::create(count, namespaces);
    let mut controller = fleet.start_controller();
    let issued = controller.cost(|| fleet.wait_all_served());
    let idle = controller.cost(|| fleet.rest());
    let renewed = controller.cost(|| fleet.rotate_one());
    let rolled = controller.cost(|| fleet.roll_over());
    let settled = controller.resident();
    Row { count, issued, idle, renewed, rolled, settled_kib: settled, peak_kib: controller.peak() }
}
