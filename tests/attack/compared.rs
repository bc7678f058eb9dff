//! The same load at rest, under attack and at rest again.

use std::thread::sleep;
use std::time::Duration;

use crate::Times;
use crate::attacker::Attacker;
use crate::figures::Line;
use crate::honest::{Honest, Plan, Tally};
use crate::usage::{Cores, Peak, resident_kib};

/// What an honest client may expect of its requests beside one who floods.
pub const BESIDE_FLOOD: Duration = Duration::from_millis(25);
/// And beside a peer that has the agent work for it, as peers may: thousands of requests at once.
pub const BESIDE_WORK: Duration = Duration::from_millis(250);
/// A new connection is two round trips and three signatures more, and shares a limit with strangers.
const CONNECTION: Duration = Duration::from_millis(250);

pub struct Compared {
    /// For each plan, the quieter of the two rests: what an attack leaves behind must not excuse it.
    pub rest: Vec<Tally>,
    pub attacked: Vec<Tally>,
    /// Resident memory at rest and at most.
    pub kib: (u64, u64),
    /// Who used the cores, and how many steps the attackers took to be in place and then took a second.
    pub cores: String,
}

/// The process `id` is watched meanwhile.
pub fn compare(
    times: Times,
    id: u32,
    plans: Vec<Plan>,
    attack: impl FnOnce() -> anyhow::Result<Vec<Attacker>>,
) -> anyhow::Result<Compared> {
    let honest = Honest::start(plans)?;
    let first = honest.next_phase();
    sleep(times.rest);
    let at_rest = resident_kib(id);
    let peak = Peak::of(id);
    honest.next_phase();
    let mut attackers = attack()?;
    Attacker::wait_in_place(&mut attackers)?;
    let steps = |attackers: &[Attacker]| attackers.iter().map(Attacker::steps).sum::<u64>();
    let (before, cores) = (steps(&attackers), Cores::begin(id, attackers.iter().map(Attacker::id)));
    let attacked = honest.next_phase();
    sleep(times.attack);
    honest.next_phase();
    let (after, cores, peak) = (steps(&attackers), cores.end(), peak.end());
    drop(attackers);
    sleep(times.settle);
    let second = honest.next_phase();
    sleep(times.rest);
    let phases = honest.end();
    let quieter = |(first, second): (&Tally, &Tally)| {
        let (of_first, of_second) = (worst(first), worst(second));
        if of_first <= of_second { first.clone() } else { second.clone() }
    };
    Ok(Compared {
        rest: phases[first].iter().zip(&phases[second]).map(quieter).collect(),
        attacked: phases[attacked].clone(),
        kib: (at_rest, peak.0),
        cores: format!(
            "{cores}; {before} steps, then {:.0}/s",
            (after - before) as f64 / times.attack.as_secs_f64()
        ),
    })
}

fn worst(tally: &Tally) -> Duration {
    tally.all().percentile(99).unwrap_or(Duration::MAX)
}

impl Compared {
    /// Whether honest clients hardly notice: requests on kept connections, new connections, failures of either.
    /// `most` is the bound of the first.
    pub fn honest(&self, kind: &str, most: Duration) -> Vec<Line> {
        let (rest, attacked) = (&self.rest[0], &self.attacked[0]);
        let mut lines = Vec::new();
        if rest.kept.asked() > 0 {
            let what = format!("{kind}honest requests, p50/p99");
            lines.push(Line::latency(what, most, &rest.kept, &attacked.kept));
        }
        lines.extend(self.visits(kind, 0));
        self.label(lines)
    }

    /// New connections of a plan, and failures of all it does.
    pub fn visits(&self, kind: &str, plan: usize) -> Vec<Line> {
        let (rest, attacked) = (&self.rest[plan], &self.attacked[plan]);
        let lines = vec![
            Line::latency(format!("{kind}new connections, p50/p99"), CONNECTION, &rest.new, &attacked.new),
            Line::failures(format!("{kind}failed"), &rest.all(), &attacked.all()),
        ];
        self.label(lines)
    }

    /// Memory above what it was at rest.
    pub fn memory(&self, kind: &str, rest: u64, most_mib: u64) -> Line {
        let most = self.kib.1;
        let grown = most.saturating_sub(rest).div_ceil(1024);
        let rest = format!("{} MiB in all", rest / 1024);
        Line::most(format!("{kind}memory above rest, at most"), " MiB", most_mib, rest, grown)
    }

    fn label(&self, mut lines: Vec<Line>) -> Vec<Line> {
        lines.iter_mut().for_each(|line| line.cores.clone_from(&self.cores));
        lines
    }
}
