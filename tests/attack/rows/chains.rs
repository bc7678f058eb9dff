//! A stranger's chain in which every certificate may have issued every other: a verifier that tries all paths
//! does so up to its own budget, for a handshake that it refuses in the end.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use kit::forge::Forge;
use kit::pki::Pair;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::Row;
use crate::Times;
use crate::attacker::{AT_ONCE, Attacker, Target, hold, step};
use crate::compared::{BESIDE_FLOOD, compare};
use crate::figures::{Line, milliseconds};
use crate::usage::cpu;
use crate::world::World;

pub const ROW: Row = Row {
    name: "chains",
    attack: "40 strangers at once present a chain of 90 CAs of one name, again and again",
    measure,
    attacks: &[("chain", attack)],
};

const CLIENTS: usize = 40;
const AUTHORITIES: usize = 90;
/// Of a handshake with such a chain, beside one that is refused for an unknown root.
const MOST_TIMES: f64 = 3.0;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let world = World::http(&[]);
    let chain = chain()?;
    let ordinary = cost(&world, &Forge::default().leaf("stranger"), times)?;
    let costly = cost(&world, &chain, times)?;
    let ratio = costly.as_secs_f64() / ordinary.as_secs_f64();
    let compared = compare(times, world.id(), world.honest()?, || {
        Ok(vec![Attacker::start("chain", world.inbound(), CLIENTS, Some(&chain))?])
    })?;
    let mut lines = compared.honest("", BESIDE_FLOOD);
    let attacked = format!("{} ({ratio:.1}×)", milliseconds(costly));
    let held = ratio <= MOST_TIMES;
    let bound = format!("≤ {MOST_TIMES}× an ordinary refused one");
    lines.push(Line::new("CPU of one handshake", bound, milliseconds(ordinary), attacked, held));
    Ok(lines)
}

/// CPU time of the agent for one handshake of one stranger after the other.
fn cost(world: &World, stranger: &Pair, times: Times) -> anyhow::Result<Duration> {
    let mut attacker = Attacker::start("chain", world.inbound(), 1, Some(stranger))?;
    attacker.wait_under_way()?;
    let (steps, before) = (attacker.steps(), cpu(world.id()));
    sleep(times.rest * 2);
    // The step that is under way at either end counts in part.
    let steps = (attacker.steps() - steps).max(1);
    Ok((cpu(world.id()) - before) / u32::try_from(steps)?)
}

fn attack(target: Target) -> io::Result<()> {
    target.keep(AT_ONCE, async |target| {
        let done = match target.tls("http/1.1").await {
            Ok(mut stream) => hold(&mut stream).await,
            Err(error) => Err(error),
        };
        step();
        done
    })
}

/// A leaf, and authorities of its issuer's name with a key each, none of which has issued another.
fn chain() -> anyhow::Result<Pair> {
    let name =
        |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, "one name");
    let mut certificates = String::new();
    let mut params = CertificateParams::default();
    name(&mut params);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for _ in 0..AUTHORITIES {
        certificates += &params.self_signed(&KeyPair::generate()?)?.pem();
    }
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(vec!["stranger.shop.svc".into()])?;
    leaf.distinguished_name.push(DnType::CommonName, "stranger");
    let leaf = leaf.signed_by(&key, &Issuer::new(params, KeyPair::generate()?))?.pem();
    Ok(Pair::new(leaf + &certificates, key.serialize_pem()))
}
