//! From exec to the first handshake that is answered.

use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::peers::Mode;

const ROW: &str = "start";

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = [Figure::lower(ROW, "from exec to the first handshake", "ms").headline()];
    let mut peers: Vec<_> = bench.of(Mode::Tcp).collect();
    rounds(
        bench.amount.starts,
        &mut peers,
        |peer| peer.name(),
        &mut figures,
        |peer, figures| {
            let took = bench.start(*peer, Mode::Tcp)?.took;
            figures[0].add(peer.name(), peer.is_floor(), took.as_secs_f64() * 1000.0);
            Ok(())
        },
    );
    Ok(figures.into())
}
