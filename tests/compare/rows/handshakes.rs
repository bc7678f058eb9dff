//! Full handshakes: a connection, a handshake with certificates on both sides, one request, the end. The
//! request is there because a client is done before the server has judged its certificate.

use anyhow::ensure;
use kit::dialer::{Dialer, Group};

use super::Loaded;
use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::floor::{self, Floor};
use crate::load::{Load, Script};
use crate::peers::Mode;

const ROW: &str = "handshakes";
const CONNECTIONS: usize = 8;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut all = Vec::new();
    for (group, by) in [(Group::X25519, "X25519"), (Group::X25519MlKem768, "X25519MLKEM768")] {
        let mut figures = [
            Figure::lower(ROW, format!("{by}: CPU for each"), "ms").headline(),
            Figure::higher(ROW, format!("{by}: handshakes"), "1/s"),
        ];
        let floor = Floor::new(&bench.pki, &bench.pki.leaf("service"))?;
        let dialer = Dialer::new(&bench.client, group)?;
        for _ in 0..bench.amount.rounds {
            figures[0].add(floor::NAME, true, floor.handshake(&dialer, bench.amount.time / 4)?);
        }
        let mut loaded = Vec::new();
        for peer in bench.of(Mode::Tcp).filter(|peer| group == Group::X25519 || !peer.is_floor()) {
            let started = bench.start(peer, Mode::Tcp)?;
            let script = Script::handshakes(CONNECTIONS);
            match Load::open(&bench.dialer(peer, group)?, started.site.listen, script) {
                Ok(load) => loaded.push(Loaded { started, load }),
                Err(error) => {
                    let error = anyhow::anyhow!("does not agree on {by}: {error}");
                    figures.iter_mut().for_each(|figure| figure.fail(peer.name(), &error));
                }
            }
        }
        rounds(bench.amount.rounds, &mut loaded, Loaded::name, &mut figures, |loaded, figures| {
            let cpu = loaded.started.running.cpu();
            let tally = loaded.load.run(bench.amount.time)?;
            let cpu = (loaded.started.running.cpu() - cpu).as_secs_f64();
            ensure!(tally.failed == 0, "{} handshakes failed: {:?}", tally.failed, tally.first_failure);
            for (figure, value) in
                figures.iter_mut().zip([cpu / tally.answers as f64 * 1000.0, tally.per_second()])
            {
                figure.add(loaded.name(), loaded.is_floor(), value);
            }
            Ok(())
        });
        all.extend(figures);
    }
    Ok(all)
}
