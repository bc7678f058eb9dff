//! The rows: each is an attack, what it is run against, and the bounds that its figures are held against.

mod app_never_answers;
mod chains;
mod clock;
mod frames;
mod hellos;
mod log;
mod loops;
mod memory_after;
mod probes;
mod receiver;
mod silent;
mod streams_unread;
mod unread_body;
mod webhook;

use crate::Times;
use crate::attacker::Attack;
use crate::figures::Line;

pub struct Row {
    pub name: &'static str,
    /// What the attacker does.
    pub attack: &'static str,
    pub measure: fn(Times) -> anyhow::Result<Vec<Line>>,
    /// What runs in processes of its own, by name.
    attacks: &'static [(&'static str, Attack)],
}

pub const ROWS: &[Row] = &[
    chains::ROW,
    streams_unread::ROW,
    silent::ROW,
    app_never_answers::ROW,
    frames::ROW,
    hellos::ROW,
    probes::ROW,
    receiver::ROW,
    webhook::ROW,
    log::ROW,
    memory_after::ROW,
    loops::ROW,
    unread_body::ROW,
    clock::ROW,
];

pub fn attack(kind: &str) -> Option<Attack> {
    let mut attacks = ROWS.iter().flat_map(|row| row.attacks);
    attacks.find(|(name, _)| *name == kind).map(|(_, attack)| *attack)
}
