//! Handshakes that are done, and then nothing, until more places are wanted than there are. Whoever has not asked
//! for anything gives way; what the app itself sends out is not held up by any client.

use std::io;

use kit::agent::Launch;
use kit::client::SERVER;
use kit::pki::spiffe;
use tokio::io::AsyncWriteExt as _;

use super::Row;
use crate::Times;
use crate::attacker::{Attacker, LATER, Target, hold, step};
use crate::compared::{BESIDE_WORK, compare};
use crate::figures::Line;
use crate::honest::{Plan, get};
use crate::world::World;

pub const ROW: Row = Row {
    name: "silent-after-handshake",
    attack: "verified peers that are not listed, HTTP/2 without a preface, heads without an end and clients that never \
             ask take more than all places",
    measure,
    attacks: &[("never-asks", never_asks), ("no-preface", no_preface), ("half-head", half_head)],
};

/// Few, so that they are taken at once.
const PLACES: usize = 400;
/// Of each of four kinds: half as many again as there are places.
const EACH: usize = PLACES / 4 * 3 / 2;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let server = World::http(&[]);
    let route = format!("localhost:{}#{}", server.inbound().port(), spiffe(SERVER));
    let places = PLACES.to_string();
    let allow = [spiffe("storefront"), spiffe("attacker")].join(",");
    let (app, roots) = (server.app, &server.volume.path);
    // The same identity on both sides: the server is one of its own replicas.
    let agent = Launch::new(roots)
        .args(["--workers", "1", "--max-connections", &places, "--allow", &allow])
        .inbound("http:", app)
        .outbound("http:", route)
        .ready();
    let inbound = agent.address("inbound");
    let outbound = Plan::visits(agent.address("outbound"), None, get("/"));
    let plans = vec![Plan::ordinary(inbound, server.storefront()?), outbound];
    let unlisted = server.pki.leaf("unlisted");
    let compared = compare(times, agent.id(), plans, || {
        let start = |kind, who| Attacker::start(kind, inbound, EACH, Some(who));
        Ok(vec![
            start("never-asks", &unlisted)?,
            start("never-asks", &server.attacker)?,
            start("no-preface", &server.attacker)?,
            start("half-head", &server.attacker)?,
        ])
    })?;
    let mut lines = compared.honest("", BESIDE_WORK);
    lines.extend(compared.visits("outbound: ", 1));
    Ok(lines)
}

pub(super) fn never_asks(target: Target) -> io::Result<()> {
    says(target, "http/1.1", b"")
}

fn no_preface(target: Target) -> io::Result<()> {
    says(target, "h2", b"")
}

fn half_head(target: Target) -> io::Result<()> {
    says(target, "http/1.1", b"GET / HTTP/1.1\r\nhost: payments.shop.svc\r\n")
}

fn says(target: Target, alpn: &'static str, words: &'static [u8]) -> io::Result<()> {
    target.keep(LATER, async move |target| {
        let mut stream = target.tls(alpn).await?;
        stream.write_all(words).await?;
        stream.flush().await?;
        step();
        hold(&mut stream).await
    })
}
