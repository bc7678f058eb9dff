//! One peer asks for what the app never answers: the requests that wait for the app are shared out among peers.

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::Row;
use crate::Times;
use crate::app::NEVER;
use crate::attacker::{Attacker, LATER, Target, hold, step};
use crate::compared::{BESIDE_WORK, compare};
use crate::figures::Line;
use crate::http2::{get, hello};
use crate::world::World;

pub const ROW: Row = Row {
    name: "app-never-answers",
    attack: "one peer sends 100 requests on each of 100 HTTP/2 connections that the app never answers",
    measure,
    attacks: &[(ATTACK, attack)],
};

pub(super) const ATTACK: &str = "app-never-answers";
pub(super) const CONNECTIONS: usize = 100;
const REQUESTS: u32 = 100;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let compared = compare(times, world.id(), world.honest()?, || {
        Ok(vec![Attacker::start(ATTACK, world.inbound(), CONNECTIONS, Some(&world.attacker))?])
    })?;
    Ok(compared.honest("", BESIDE_WORK))
}

fn attack(target: Target) -> io::Result<()> {
    target.keep(LATER, async |target| {
        let mut stream = target.tls("h2").await?;
        let requests: Vec<u8> = (0..REQUESTS).flat_map(|at| get(2 * at + 1, NEVER)).collect();
        stream.write_all(&[hello(), requests].concat()).await?;
        stream.flush().await?;
        step();
        hold(&mut stream).await
    })
}
