//! kubelet's probes of an app that is not quick, relayed through the admin port, while somebody opens connections to
//! that port and says nothing.

use std::io;
use std::time::Duration;

use super::Row;
use crate::Times;
use crate::app::SLOW;
use crate::attacker::{Attacker, SOURCE, Target};
use crate::compared::compare;
use crate::figures::Line;
use crate::flood::flood;
use crate::honest::{Plan, get};
use crate::world::World;

pub const ROW: Row = Row {
    name: "probes",
    attack: "a pod opens 20,000 connections a second to the admin port while kubelet probes an app through it",
    measure,
    attacks: &[("churn", attack)],
};

const CONNECTIONS_PER_SECOND: u32 = 20_000;
/// kubelet's own, by default.
const PATIENCE: Duration = Duration::from_secs(1);

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::with(|launch, app| {
        let probe = format!("{}{SLOW}", app.port());
        launch.inbound("http:", app).args(["--probe", &probe])
    });
    let path = format!("/probe/{}{SLOW}", world.app.port());
    let admin = world.agent.address("admin");
    let probes = Plan { patience: PATIENCE, ..Plan::visits(admin, None, get(&path)) };
    let own = Plan { patience: PATIENCE, ..Plan::visits(admin, None, get("/livez")) };
    let plans = vec![probes, own, Plan::ordinary(world.inbound(), world.storefront()?)];
    let compared = compare(times, world.id(), plans, || Ok(vec![Attacker::start("churn", admin, 1, None)?]))?;
    let mut lines = compared.visits("probes of the app: ", 0);
    lines.extend(compared.visits("/livez: ", 1));
    lines.extend(compared.visits("traffic: ", 2));
    Ok(lines)
}

fn attack(target: Target) -> io::Result<()> {
    flood(SOURCE, target.address, b"", Some(CONNECTIONS_PER_SECOND))
}
