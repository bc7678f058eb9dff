//! What the other attacks have cost is given back when they are over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Row, app_never_answers, frames, hellos, streams_unread};
use crate::Times;
use crate::attacker::Attacker;
use crate::figures::Line;
use crate::honest::Honest;
use crate::usage::{Peak, descriptors, resident_kib};
use crate::world::World;

pub const ROW: Row = Row {
    name: "memory-after",
    attack: "everything above at once: unread streams, requests without an answer, frames, silence and hellos; then \
             nothing",
    measure,
    attacks: &[],
};

const SILENT: usize = 1000;
const MOST_MIB: u64 = 20;
/// After the end of the attacks.
const WITHIN: Duration = Duration::from_secs(10);
/// More than at rest: connections to the app that are kept for the next request.
const MOST_DESCRIPTORS: u64 = 50;
const LOOK: Duration = Duration::from_millis(100);

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let id = world.id();
    let honest = Honest::start(world.honest()?)?;
    sleep(times.rest);
    let rest = (resident_kib(id), descriptors(id));
    let peak = Peak::of(id);
    let start =
        |kind, connections| Attacker::start(kind, world.inbound(), connections, Some(&world.attacker));
    let mut attackers = vec![
        start(streams_unread::ATTACK, streams_unread::CONNECTIONS)?,
        start(app_never_answers::ATTACK, app_never_answers::CONNECTIONS)?,
        start("never-asks", SILENT)?,
        start(hellos::ATTACK, 1)?,
    ];
    for kind in frames::KINDS {
        attackers.push(start(kind, 1)?);
    }
    Attacker::wait_as_far_as_they_get(&mut attackers)?;
    sleep(times.attack * 2);
    drop(attackers);
    let peak = peak.end();
    let begin = Instant::now();
    let above = || {
        let (kib, open) = (resident_kib(id).saturating_sub(rest.0), descriptors(id).saturating_sub(rest.1));
        (kib.div_ceil(1024), open)
    };
    while begin.elapsed() < WITHIN && (above().0 > MOST_MIB || above().1 > MOST_DESCRIPTORS) {
        sleep(LOOK);
    }
    let (after, (mib, open)) = (begin.elapsed().as_secs_f64(), above());
    honest.end();
    let what = |thing: &str| format!("{thing} above rest, {after:.1} s after the end");
    let at_rest = |at_rest: u64, at_most: u64| format!("{at_rest} in all, at most {at_most}");
    Ok(vec![
        Line::most(what("MiB"), " MiB", MOST_MIB, at_rest(rest.0 / 1024, peak.0 / 1024), mib),
        Line::most(what("descriptors"), "", MOST_DESCRIPTORS, at_rest(rest.1, peak.1), open),
    ])
}
