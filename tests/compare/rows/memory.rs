//! Resident memory: after the start, with connections that are idle, and after they have gone.

use std::time::{Duration, Instant};

use kit::dialer::Group;

use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::load::{Load, Script};
use crate::peers::{Mode, Peer, Started};

const ROW: &str = "memory";
const PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let [few, many] = bench.amount.idle;
    let mut figures = [
        Figure::lower(ROW, "at rest", "MiB").headline(),
        Figure::lower(ROW, "at rest, without what is in files", "MiB"),
        Figure::lower(ROW, format!("for each of {few} idle connections"), "KiB"),
        Figure::lower(ROW, format!("for each of {many} idle connections"), "KiB").headline(),
        Figure::lower(ROW, format!("after {many} have gone"), "MiB"),
    ];
    let mut peers: Vec<_> = bench.of(Mode::Tcp).collect();
    rounds(
        1,
        &mut peers,
        |peer| peer.name(),
        &mut figures,
        |peer, figures| {
            for (figure, value) in figures.iter_mut().zip(of(bench, *peer)?) {
                figure.add(peer.name(), peer.is_floor(), value);
            }
            Ok(())
        },
    );
    Ok(figures.into())
}

fn of(bench: &Bench, peer: &'static dyn Peer) -> anyhow::Result<[f64; 5]> {
    let started = bench.start(peer, Mode::Tcp)?;
    let dialer = bench.dialer(peer, Group::X25519)?;
    let rest = settled(bench, &started);
    let anonymous = started.running.memory().anonymous_kib as f64;
    let mut each = Vec::new();
    let mut loads = Vec::new();
    let mut open = 0;
    for count in bench.amount.idle {
        loads.push(Load::open(&dialer, started.site.listen, Script::small(count - open))?);
        open = count;
        each.push((settled(bench, &started) - rest) / count as f64);
    }
    drop(loads);
    Ok([rest / 1024.0, anonymous / 1024.0, each[0], each[1], settled(bench, &started) / 1024.0])
}

/// In KiB, once it no longer changes.
pub fn settled(bench: &Bench, started: &Started) -> f64 {
    let begin = Instant::now();
    let (mut last, mut since) = (started.running.memory().resident_kib, begin);
    while since.elapsed() < bench.amount.settled && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
        let now = started.running.memory().resident_kib;
        if now.abs_diff(last) > 64 {
            (last, since) = (now, Instant::now());
        }
    }
    last as f64
}
