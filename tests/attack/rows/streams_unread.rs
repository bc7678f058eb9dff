//! One peer asks for more than it reads: what the app sends has to wait in the app, not in the agent.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::Row;
use crate::Times;
use crate::app::ENDLESS;
use crate::attacker::{Attacker, LATER, Target, step};
use crate::compared::{BESIDE_WORK, compare};
use crate::figures::Line;
use crate::http2::{PING, frame, get, hello};
use crate::world::World;

pub const ROW: Row = Row {
    name: "streams-unread",
    attack: "one peer asks for endless responses on 40 HTTP/2 connections with 100 streams each, and reads none",
    measure,
    attacks: &[(ATTACK, attack)],
};

pub(super) const ATTACK: &str = "streams-unread";
pub(super) const CONNECTIONS: usize = 40;
const STREAMS: u32 = 100;
const MOST_MIB: u64 = 48;
/// Asks whether the connection is still there.
const ALIVE: Duration = Duration::from_millis(500);
/// What is not taken from the agent must not wait in our kernel either.
const RECEIVE_BYTES: u32 = 4096;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let compared = compare(times, world.id(), world.honest()?, || {
        Ok(vec![Attacker::start(ATTACK, world.inbound(), CONNECTIONS, Some(&world.attacker))?])
    })?;
    let mut lines = vec![compared.memory("", compared.kib.0, MOST_MIB)];
    lines.extend(compared.honest("", BESIDE_WORK));
    Ok(lines)
}

fn attack(target: Target) -> io::Result<()> {
    target.keep(LATER, async |target| {
        let socket = target.socket()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        let mut stream = target.tls_over(socket.connect(target.address).await?, "h2").await?;
        let requests: Vec<u8> = (0..STREAMS).flat_map(|at| get(2 * at + 1, ENDLESS)).collect();
        stream.write_all(&[hello(), requests].concat()).await?;
        stream.flush().await?;
        step();
        loop {
            tokio::time::sleep(ALIVE).await;
            stream.write_all(&frame(PING, 0, 0, &[0; 8])).await?;
            stream.flush().await?;
        }
    })
}
