//! Requests on connections that stay, one after the other on each: what a request costs, and what it costs with a line
//! for each in an access log.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::time::{Duration, Instant};

use anyhow::ensure;
use kit::dialer::Group;

use super::Loaded;
use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::load::{Load, Script};
use crate::peers::Mode;

const ROW: &str = "requests";
const CONNECTIONS: usize = 32;
/// Within this time, what is buffered is written: Envoy's buffer is flushed every ten seconds.
const FLUSHED: Duration = Duration::from_secs(15);

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut all = Vec::new();
    for (mode, by) in
        [(Mode::Tcp, "TCP"), (Mode::Http, "HTTP"), (Mode::LoggedHttp, "HTTP with an access log")]
    {
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
        let mut answers: HashMap<&str, u64> = HashMap::new();
        rounds(bench.amount.rounds, &mut loaded, Loaded::name, &mut figures, |loaded, figures| {
            let cpu = loaded.started.running.cpu();
            let tally = loaded.load.run(bench.amount.time)?;
            let cpu = (loaded.started.running.cpu() - cpu).as_secs_f64();
            ensure!(tally.failed == 0, "{} requests failed: {:?}", tally.failed, tally.first_failure);
            *answers.entry(loaded.name()).or_default() += tally.answers;
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
        if mode == Mode::LoggedHttp {
            let mut missing = Figure::lower(ROW, format!("{by}: lines that are missing"), "");
            for loaded in &loaded {
                let answered = answers.get(loaded.name()).copied().unwrap_or_default();
                missing.add(loaded.name(), false, missing_lines(loaded, answered)? as f64);
            }
            all.push(missing);
        }
    }
    Ok(all)
}

/// The lines that the log lacks of one for each answer, when all are written.
fn missing_lines(loaded: &Loaded, answers: u64) -> io::Result<u64> {
    let log = loaded.started.site.file("log");
    let begin = Instant::now();
    loop {
        let lines = BufReader::new(File::open(&log)?).split(b'\n').count() as u64;
        let missing = answers.saturating_sub(lines);
        if missing == 0 || begin.elapsed() > FLUSHED {
            return Ok(missing);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
