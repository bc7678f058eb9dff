//! The first answer on a new connection, from the first byte of the request on. A client that leaves Nagle's algorithm on
//! sends nothing before its last flight of the handshake is acknowledged.

use std::time::Duration;

use kit::dialer::Group;

use crate::bench::{Bench, rounds};
use crate::figure::{Figure, median};
use crate::peers::Mode;
use crate::visit::visit_with;

const ROW: &str = "first answer";
/// In each round.
const VISITS: usize = 20;
const WITHIN: Duration = Duration::from_secs(5);

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = [
        Figure::lower(ROW, "client with TCP_NODELAY, median", "ms"),
        Figure::lower(ROW, "client with Nagle's algorithm, median", "ms"),
    ];
    let mut started = bench.start_all(Mode::Tcp)?;
    rounds(
        bench.amount.rounds,
        &mut started,
        |started| started.peer.name(),
        &mut figures,
        |started, figures| {
            let dialer = bench.dialer(started.peer, Group::X25519)?;
            for (figure, nodelay) in figures.iter_mut().zip([true, false]) {
                let mut millis = Vec::with_capacity(VISITS);
                for _ in 0..VISITS {
                    let visit = visit_with(&dialer, started.site.listen, WITHIN, nodelay)?;
                    millis.push(visit.answered.as_secs_f64() * 1000.0);
                }
                figure.add(started.peer.name(), started.peer.is_floor(), median(&millis).unwrap_or_default());
            }
            Ok(())
        },
    );
    Ok(figures.into())
}
