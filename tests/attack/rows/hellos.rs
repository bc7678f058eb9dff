//! ClientHellos as fast as one thread makes them: each costs the agent a key exchange and a signature.

use std::io;

use tokio_rustls::rustls::ClientConnection;

use super::Row;
use crate::Times;
use crate::attacker::{Attacker, SOURCE, Target, server_name};
use crate::compared::{BESIDE_FLOOD, compare};
use crate::figures::Line;
use crate::flood::flood;
use crate::world::World;

pub const ROW: Row = Row {
    name: "hellos",
    attack: "a stranger sends as many ClientHellos a second as one thread makes, each on a connection of its own",
    measure,
    attacks: &[(ATTACK, attack)],
};

pub(super) const ATTACK: &str = "hellos";

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let compared = compare(times, world.id(), world.honest()?, || {
        Ok(vec![Attacker::start(ATTACK, world.inbound(), 1, None)?])
    })?;
    Ok(compared.honest("", BESIDE_FLOOD))
}

fn attack(target: Target) -> io::Result<()> {
    let mut hello = Vec::new();
    let client = ClientConnection::new(target.config().clone(), server_name()).map_err(io::Error::other)?;
    { client }.write_tls(&mut hello)?;
    flood(SOURCE, target.address, &hello, None)
}
