//! gRPC calls: HTTP/2 over mTLS from the client, HTTP/2 with prior knowledge to the service. What a call costs,
//! with several under way on each connection, and the memory of a connection that is idle.

use anyhow::ensure;

use super::memory::settled;
use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::grpc::Load;
use crate::peers::{Mode, Peer, Started};

const ROW: &str = "gRPC";
const CONNECTIONS: usize = 8;
/// On each connection.
const CALLS: usize = 4;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = calls(bench)?;
    figures.push(memory(bench));
    Ok(figures)
}

fn calls(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = [
        Figure::lower(ROW, "CPU for 100,000 calls", "s").headline(),
        Figure::higher(ROW, format!("calls, {CONNECTIONS} connections with {CALLS} calls each"), "1/s"),
        Figure::lower(ROW, "latency, median", "ms"),
        Figure::lower(ROW, "latency, 99th of 100", "ms"),
        Figure::higher(ROW, "of its core in use", "%"),
    ];
    let dialer = bench.http2_dialer()?;
    let mut loaded = Vec::new();
    for started in bench.start_all(Mode::Grpc)? {
        let load = Load::open(&dialer, started.site.listen, CONNECTIONS)?;
        loaded.push((started, load));
    }
    let name = |(started, _): &(Started, Load)| started.peer.name();
    rounds(bench.amount.rounds, &mut loaded, name, &mut figures, |(started, load), figures| {
        let cpu = started.running.cpu();
        let tally = load.run(CALLS, bench.amount.time)?;
        let cpu = (started.running.cpu() - cpu).as_secs_f64();
        ensure!(tally.answers > 0, "no call was answered");
        let values = [
            cpu / tally.answers as f64 * 100_000.0,
            tally.per_second(),
            tally.quantile(0.5),
            tally.quantile(0.99),
            100.0 * cpu / tally.elapsed.as_secs_f64(),
        ];
        for (figure, value) in figures.iter_mut().zip(values) {
            figure.add(started.peer.name(), false, value);
        }
        Ok(())
    });
    Ok(figures.into())
}

fn memory(bench: &Bench) -> Figure {
    let [_, many] = bench.amount.idle;
    let mut figures =
        [Figure::lower(ROW, format!("memory for each of {many} idle connections"), "KiB").headline()];
    let mut peers: Vec<_> = bench.of(Mode::Grpc).collect();
    rounds(
        1,
        &mut peers,
        |peer| peer.name(),
        &mut figures,
        |peer, figures| {
            let used = memory_of(bench, *peer, many)?;
            figures[0].add(peer.name(), false, used);
            Ok(())
        },
    );
    let [figure] = figures;
    figure
}

fn memory_of(bench: &Bench, peer: &'static dyn Peer, connections: usize) -> anyhow::Result<f64> {
    let started = bench.start(peer, Mode::Grpc)?;
    let rest = settled(bench, &started);
    let _idle = Load::open(&bench.http2_dialer()?, started.site.listen, connections)?;
    Ok((settled(bench, &started) - rest) / connections as f64)
}
