//! Big bodies, towards the client and from it.

use anyhow::ensure;
use kit::dialer::{Dialer, Group};

use super::Loaded;
use crate::bench::{Bench, rounds};
use crate::figure::Figure;
use crate::floor::{self, Floor};
use crate::load::{Load, Script};
use crate::peers::Mode;

const ROW: &str = "bulk";
const CONNECTIONS: usize = 4;
const BODY: u64 = 16 << 20;
const GIB: f64 = (1u64 << 30) as f64;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut all = Vec::new();
    let floor = Floor::new(&bench.pki, &bench.pki.leaf("service"))?;
    let dialer = Dialer::new(&bench.client, Group::X25519)?;
    let floors = (0..bench.amount.rounds)
        .map(|_| floor.bulk(&dialer, bench.amount.time / 4))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for (at, (script, way)) in [
        (Script::download(CONNECTIONS, BODY), "to the client"),
        (Script::upload(CONNECTIONS, BODY), "from the client"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut figures = [
            Figure::lower(ROW, format!("{way}: CPU for a GiB"), "s").headline(),
            Figure::higher(ROW, format!("{way}: rate"), "Gbit/s"),
        ];
        for floor in &floors {
            figures[0].add(floor::NAME, true, floor[at]);
        }
        let mut loaded = Vec::new();
        for started in bench.start_all(Mode::Tcp)? {
            let dialer = bench.dialer(started.peer, Group::X25519)?;
            let load = Load::open(&dialer, started.site.listen, script.clone())?;
            loaded.push(Loaded { started, load });
        }
        rounds(bench.amount.rounds, &mut loaded, Loaded::name, &mut figures, |loaded, figures| {
            let cpu = loaded.started.running.cpu();
            let tally = loaded.load.run(bench.amount.time)?;
            let cpu = (loaded.started.running.cpu() - cpu).as_secs_f64();
            ensure!(tally.failed == 0, "{} bodies failed: {:?}", tally.failed, tally.first_failure);
            let gib = tally.bytes as f64 / GIB;
            let rate = tally.bytes as f64 * 8e-9 / tally.elapsed.as_secs_f64();
            for (figure, value) in figures.iter_mut().zip([cpu / gib, rate]) {
                figure.add(loaded.name(), loaded.is_floor(), value);
            }
            Ok(())
        });
        all.extend(figures);
    }
    Ok(all)
}
