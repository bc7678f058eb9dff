//! Requests on connections that stay, one after the other on each: what a request costs.

use anyhow::ensure;
use kit::dialer::Group;

use super::Loaded;
use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::load::{Load, Script};
use crate::peers::Mode;

const ROW: &str = "requests";
const CONNECTIONS: usize = 32;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut all = Vec::new();
    for (mode, by) in [(Mode::Tcp, "TCP"), (Mode::Http, "HTTP")] {
        let mut figures = [
            Figure::lower(ROW, format!("{by}: CPU for 100,000 requests"), "s").headline(),
            Figure::higher(ROW, format!("{by}: requests, {CONNECTIONS} connections"), "1/s"),
            Figure::lower(ROW, format!("{by}: latency, median"), "ms"),
            Figure::lower(ROW, format!("{by}: latency, 99th of 100"), "ms"),
            Figure::higher(ROW, format!("{by}: of its core in use"), "%"),
        ];
        let mut loaded = Vec::new();
        for started in bench.start_all(mode)? {
            let dialer = bench.dialer(started.peer, Group::X25519)?;
            let load = Load::open(&dialer, started.site.listen, Script::small(CONNECTIONS))?;
            loaded.push(Loaded { started, load });
        }
        rounds(bench.amount.rounds, &mut loaded, Loaded::name, &mut figures, |loaded, figures| {
            let cpu = loaded.started.running.cpu();
            let tally = loaded.load.run(bench.amount.time)?;
            let cpu = (loaded.started.running.cpu() - cpu).as_secs_f64();
            ensure!(tally.failed == 0, "{} requests failed: {:?}", tally.failed, tally.first_failure);
            let values = [
                cpu / tally.answers as f64 * 100_000.0,
                tally.per_second(),
                tally.quantile(0.5),
                tally.quantile(0.99),
                100.0 * cpu / tally.elapsed.as_secs_f64(),
            ];
            for (figure, value) in figures.iter_mut().zip(values) {
                figure.add(loaded.name(), loaded.is_floor(), value);
            }
            Ok(())
        });
        all.extend(figures);
    }
    Ok(all)
}
