//! The clock goes back: the leaf is not valid yet, every peer refuses it, and the agent must say so.

use std::time::{Duration, Instant};

use kit::agent::Launch;
use kit::client::SERVER;
use kit::clock::Clock;
use kit::pki::Pki;

use super::Row;
use crate::figures::Line;
use crate::{Times, app};

pub const ROW: Row = Row {
    name: "clock",
    attack: "the clock goes back three days, to before the leaf is valid",
    measure,
    attacks: &[],
};

const WITHIN: Duration = Duration::from_secs(10);

fn measure(_: Times) -> anyhow::Result<Vec<Line>> {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let clock = Clock::new(&pki);
    let launch = Launch::new(&volume.path).inbound("http:", app::start());
    let agent = clock.of(launch).args(["--poll-interval", "500ms"]).ready();
    // What the agent says when it should: `None` if not in time.
    let says = |status: u16| {
        let begin = Instant::now();
        while begin.elapsed() < WITHIN {
            let answer = agent.admin("/readyz");
            if answer.status == status {
                return Some((begin.elapsed(), answer.text()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    };
    let show = |said: &Option<(Duration, String)>| match said {
        Some((after, text)) => {
            let what = text.trim().split(':').next().unwrap_or_default();
            format!("{what} after {:.1} s", after.as_secs_f64())
        }
        None => format!("no change in {} s", WITHIN.as_secs()),
    };
    clock.set("-3d");
    let back = says(503);
    clock.set("+0");
    let forth = says(200);
    let bound = format!("not ready within {} s", WITHIN.as_secs());
    let again = format!("ready within {} s", WITHIN.as_secs());
    Ok(vec![
        Line::new("/readyz, three days back", bound, "ready", show(&back), back.is_some()),
        Line::new("/readyz, clock set right again", again, "ready", show(&forth), forth.is_some()),
    ])
}
