//! Frames of HTTP/2 that carry nothing, as fast as one thread makes them, one kind after the other.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::Row;
use crate::Times;
use crate::attacker::{AT_ONCE, Attacker, Target, hold, step};
use crate::compared::{BESIDE_FLOOD, compare};
use crate::figures::Line;
use crate::http2::{
    END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, SETTINGS, WINDOW_UPDATE, frame, get_fields,
};
use crate::world::World;

pub const ROW: Row = Row {
    name: "frames",
    attack: "one peer sends SETTINGS, PING, PRIORITY, WINDOW_UPDATE or HPACK bombs as fast as one thread can",
    measure,
    attacks: &[
        ("settings", |target| repeat(target, &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0]))),
        ("ping", |target| repeat(target, &frame(PING, 0, 0, &[1; 8]))),
        // Of a stream that is not there, which is allowed.
        ("priority", |target| repeat(target, &frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]))),
        ("window-update", |target| repeat(target, &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("hpack-bomb", bombs),
    ],
};

pub(super) const KINDS: [&str; 5] = ["settings", "ping", "priority", "window-update", "hpack-bomb"];
/// The agent ends the connection when numbers run out, and the next begins anew.
const LAST_STREAM: u32 = 0x7fff_ffff;
/// What is written at once.
const CHUNK: usize = 64 << 10;
/// A field that fills the dynamic table, and how often a head names it: 67 KiB in 50 bytes, a little more than the
/// agent takes. It answers 431; a head of many times what it takes would end the connection.
const LARGE_FIELD: usize = 4000;
const NAMED: usize = 17;
/// Heads that are written at once.
const HEADS: u32 = 500;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let mut lines = Vec::new();
    for kind in KINDS {
        let compared = compare(times.each(), world.id(), world.honest()?, || {
            Ok(vec![Attacker::start(kind, world.inbound(), 1, Some(&world.attacker))?])
        })?;
        lines.extend(compared.honest(&format!("{kind}: "), BESIDE_FLOOD));
    }
    Ok(lines)
}

fn repeat(target: Target, repeated: &[u8]) -> io::Result<()> {
    let chunk = repeated.repeat(CHUNK / repeated.len());
    target.keep(AT_ONCE, move |target| {
        let chunk = chunk.clone();
        flood(target, [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat(), move |_| chunk.clone())
    })
}

fn bombs(target: Target) -> io::Result<()> {
    target.keep(AT_ONCE, move |target| {
        let fill = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; LARGE_FIELD]].concat();
        let first = [get_fields("/"), fill].concat();
        let named = [get_fields("/"), vec![0xbe; NAMED]].concat();
        let hello =
            [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_STREAM | END_HEADERS, 1, &first)]
                .concat();
        flood(target, hello, move |count| {
            let streams = (0..HEADS).map(|at| (2 * (count * HEADS + at) + 3) & LAST_STREAM);
            streams.flat_map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &named)).collect()
        })
    })
}

/// Writes what `next` makes until the agent ends the connection. What the agent says is read, so that it never has
/// to wait for us.
async fn flood(
    target: std::sync::Arc<Target>,
    hello: Vec<u8>,
    next: impl Fn(u32) -> Vec<u8>,
) -> io::Result<()> {
    let (mut reader, writer) = tokio::io::split(target.tls("h2").await?);
    tokio::select! {
        read = hold(&mut reader) => read,
        wrote = write_all(writer, hello, next) => wrote,
    }
}

async fn write_all(
    mut writer: impl AsyncWrite + Unpin,
    hello: Vec<u8>,
    next: impl Fn(u32) -> Vec<u8>,
) -> io::Result<()> {
    writer.write_all(&hello).await?;
    for count in 0.. {
        writer.write_all(&next(count)).await?;
        step();
    }
    Ok(())
}
