//! New certificates under load, by each terminator's own best way: requests that fail, from the swap to the
//! first handshake that shows the new leaf, and the latency of requests meanwhile against that without swaps.
//! Beside the requests a second client shakes hands without a pause, in both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kit::dialer::{Dialer, Group};
use kit::pki::{hex, issue, request};
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::load::{Load, Script};
use crate::peers::{Mode, Peer};
use crate::tally::quantile;
use crate::visit::visit;

const ROW: &str = "rotation";
const CONNECTIONS: usize = 8;
/// 1,000 requests a second in all.
const PACE: Duration = Duration::from_millis(8);
const BETWEEN: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_secs(10);

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let swaps = bench.amount.swaps;
    let mut figures = [
        Figure::lower(ROW, format!("requests and handshakes that failed, {swaps} swaps"), "").headline(),
        Figure::lower(ROW, "from the swap to the new leaf, median", "ms").headline(),
        Figure::lower(ROW, "from the swap to the new leaf, longest", "ms").headline(),
        Figure::lower(ROW, "the old leaf shown after the new one", ""),
        Figure::lower(ROW, "latency without swaps, 99th of 100", "ms"),
        Figure::lower(ROW, "latency with swaps, 99th of 100", "ms"),
    ];
    let mut peers: Vec<_> = bench.of(Mode::Tcp).filter(|peer| !peer.is_floor()).collect();
    rounds(
        bench.amount.rotations,
        &mut peers,
        |peer| peer.name(),
        &mut figures,
        |peer, figures| {
            for (figure, value) in figures.iter_mut().zip(of(bench, *peer)?) {
                figure.add(peer.name(), false, value);
            }
            Ok(())
        },
    );
    Ok(figures.into())
}

fn of(bench: &Bench, peer: &'static dyn Peer) -> anyhow::Result<[f64; 6]> {
    let started = bench.start(peer, Mode::Tcp)?;
    let dialer = bench.dialer(peer, Group::X25519)?;
    let address = started.site.listen;
    let mut load = Load::open(&dialer, address, Script::paced(CONNECTIONS, PACE))?;
    let swaps = bench.amount.swaps;
    let time = BETWEEN * u32::try_from(swaps)?;

    let visitor = Visitor::default();
    let quiet = visitor.beside(&dialer, address, || Ok(load.run(time)?))?;
    ensure!(visitor.seen().failed + quiet.failed == 0, "requests fail without any swap");

    let visitor = Visitor::default();
    let mut took = Vec::new();
    let busy = visitor.beside(&dialer, address, || {
        std::thread::scope(|scope| {
            let requests = scope.spawn(|| load.run(time));
            for _ in 0..swaps {
                let pair = issue(&bench.pki.root, &request("service"));
                let at = started.rotate(&pair)?;
                took.push(visitor.wait_for(&pair.sha256)?.saturating_duration_since(at));
                std::thread::sleep(BETWEEN.saturating_sub(at.elapsed()));
            }
            Ok(requests.join().map_err(|_| anyhow::anyhow!("the load panicked"))??)
        })
    })?;
    let seen = visitor.seen();
    let went_back =
        seen.leaves.windows(2).filter(|pair| pair[0].0 != pair[1].0).count().saturating_sub(swaps);
    Ok([
        (busy.failed + seen.failed) as f64,
        quantile(&took, 0.5),
        quantile(&took, 1.0),
        went_back as f64,
        quiet.quantile(0.99),
        busy.quantile(0.99),
    ])
}

/// Shakes hands without a pause, one after the other, and remembers which leaf it was shown when.
#[derive(Default)]
struct Visitor {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// SHA-256 of the leaf, and when it was shown: each time that it is not the same as before.
    leaves: Vec<(String, Instant)>,
    failed: u64,
}

impl Visitor {
    /// While `work` works.
    fn beside<T>(
        &self,
        dialer: &Dialer,
        address: SocketAddr,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.visit(dialer, address);
                }
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            result
        })
    }

    fn visit(&self, dialer: &Dialer, address: SocketAddr) {
        let visit = visit(dialer, address, DEADLINE);
        let mut seen = self.seen();
        match visit {
            Ok(visit) => {
                let leaf = hex(&Sha256::digest(visit.leaf.unwrap_or_default()));
                if seen.leaves.last().is_none_or(|(last, _)| *last != leaf) {
                    seen.leaves.push((leaf, visit.shown));
                    self.changed.notify_all();
                }
            }
            Err(_) => seen.failed += 1,
        }
    }

    /// When this leaf was first shown.
    fn wait_for(&self, sha256: &str) -> anyhow::Result<Instant> {
        let is_it = |(leaf, _): &&(String, Instant)| leaf == sha256;
        let (seen, _) = self
            .changed
            .wait_timeout_while(self.seen(), DEADLINE, |seen| !seen.leaves.iter().any(|leaf| is_it(&leaf)))
            .unwrap_or_else(PoisonError::into_inner);
        let found = seen.leaves.iter().find(is_it).map(|(_, shown)| *shown);
        found.with_context(|| format!("the new leaf is not served within {DEADLINE:?}"))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
