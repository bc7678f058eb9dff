//! Chains from a seed: one that everybody accepts, with a few faults.

use std::time::{Duration, UNIX_EPOCH};

use super::certificate::{Certificate, Extension, name, private_key, utc};
use super::der::{oid, sequence, tlv};
use super::extensions::{
    ALTERNATIVE_NAMES, BASIC_CONSTRAINTS, CLIENT, EXTENDED_KEY_USAGE, KEY_USAGE, KINDS, NAME_CONSTRAINTS,
    SERVER, dns, values,
};
use super::{Case, Role};
use crate::random::Random;

/// 2030-01-01.
pub const AT: u64 = 1_893_456_000;
const ROOT_KEY: u8 = 1;
pub const LEAF_KEY: u8 = 9;
const OTHER_KEY: u8 = 8;
const NAME: &str = "a.example.test";

/// From the root to the leaf, and what lies beside it.
struct Chain {
    certificates: Vec<Certificate>,
    beside: Vec<Certificate>,
}

/// The chain of this index.
pub fn case(seed: u64, index: u64) -> Case {
    let mut random = Random::of(seed, index);
    let mut chain = Chain::good(random.below(3));
    for _ in 0..random.choose(&[1, 1, 1, 2, 2, 3]) {
        chain.mutate(&mut random);
    }
    let mut case = chain.case();
    case.id = format!("{index} of seed {seed}");
    case.role = random.choose(&[Role::Server, Role::Client]);
    if case.role == Role::Client || random.chance(40) {
        case.name = None;
    }
    for certificate in &chain.beside {
        let at = if random.chance(30) { &mut case.roots } else { &mut case.intermediates };
        at.push(certificate.der());
    }
    if random.chance(5) {
        case.intermediates.reverse();
    }
    if random.chance(3) {
        let at = random.below(case.leaf.len());
        case.leaf[at] ^= 1 << random.below(8);
    }
    case
}

/// A server's chain without faults, with one intermediate, `mid`.
pub fn good() -> Case {
    Chain::good(1).case()
}

impl Chain {
    fn good(intermediates: usize) -> Self {
        let mut certificates = vec![authority("root", ROOT_KEY, "root", ROOT_KEY)];
        let names = ["root", "mid", "low"];
        for at in 0..intermediates {
            let key = ROOT_KEY + at as u8;
            certificates.push(authority(names[at + 1], key + 1, names[at], key));
        }
        let issuer = ROOT_KEY + intermediates as u8;
        let usages = sequence(&[oid(SERVER), oid(CLIENT)]);
        certificates.push(
            Certificate::new("leaf", LEAF_KEY, names[intermediates], issuer)
                .with(KEY_USAGE, true, tlv(0x03, &[0x07, 0x80]))
                .with(EXTENDED_KEY_USAGE, false, usages)
                .with(ALTERNATIVE_NAMES, false, sequence(&[dns(NAME)])),
        );
        Self { certificates, beside: Vec::new() }
    }

    fn case(&self) -> Case {
        let mut ders: Vec<_> = self.certificates.iter().map(Certificate::der).collect();
        let roots = vec![ders.remove(0)];
        let leaf = ders.pop().unwrap_or_default();
        ders.reverse();
        Case {
            id: "good".into(),
            role: Role::Server,
            roots,
            intermediates: ders,
            leaf,
            key: Some(private_key(LEAF_KEY)),
            lists: Vec::new(),
            at: UNIX_EPOCH + Duration::from_secs(AT),
            name: Some(NAME.into()),
            expected: Some(true),
        }
    }

    fn mutate(&mut self, random: &mut Random) {
        let at = random.below(self.certificates.len());
        if random.chance(8) {
            return self.rearrange(at, random);
        }
        let certificate = &mut self.certificates[at];
        match random.below(10) {
            0..6 => mutate_extension(certificate, random),
            6 => mutate_dates(certificate, random),
            7 => mutate_names(certificate, random),
            8 => mutate_fields(certificate, random),
            _ => certificate.flips.push((random.below(4096), 1 << random.below(8))),
        }
    }

    /// Certificates that are issued by themselves, twice, or by others.
    fn rearrange(&mut self, at: usize, random: &mut Random) {
        let mut other = self.certificates[at].clone();
        // An agent takes the certificate that its key is for, wherever it stands.
        if other.key == LEAF_KEY {
            other.key = OTHER_KEY;
        }
        match random.below(4) {
            // The same name and key under another authority, or under its own new key.
            0 => (other.issuer, other.signed_by) = (name("other root"), 7),
            1 => {
                let old = other.key;
                (other.key, other.issuer, other.signed_by) = (6, other.subject.clone(), old);
                if let Some(below) = self.certificates.get_mut(at + 1) {
                    below.signed_by = 6;
                }
            }
            2 => mutate_extension(&mut other, random),
            _ => other = authority("other root", 7, "other root", 7),
        }
        self.beside.push(other);
    }
}

fn authority(subject: &str, key: u8, issuer: &str, signed_by: u8) -> Certificate {
    Certificate::new(subject, key, issuer, signed_by)
        .with(BASIC_CONSTRAINTS, true, sequence(&[super::der::TRUE.to_vec()]))
        .with(KEY_USAGE, true, tlv(0x03, &[0x01, 0x06]))
}

fn mutate_extension(certificate: &mut Certificate, random: &mut Random) {
    let extensions = &mut certificate.extensions;
    let kind = match random.chance(50) {
        true => random.choose(&[
            KEY_USAGE,
            ALTERNATIVE_NAMES,
            BASIC_CONSTRAINTS,
            NAME_CONSTRAINTS,
            EXTENDED_KEY_USAGE,
        ]),
        false => random.choose(&KINDS),
    };
    let all = values(kind);
    let value = all[random.below(all.len())].clone();
    let there = extensions.iter().position(|extension| extension.oid == kind);
    match (there, random.below(10)) {
        (Some(there), 0) => drop(extensions.remove(there)),
        (Some(there), 1) => extensions[there].critical ^= true,
        (Some(there), 2) => extensions[there].value.truncate(random.below(8)),
        (Some(there), 3) => {
            let length = extensions[there].value.len();
            if length > 0 {
                extensions[there].value[random.below(length)] ^= 1 << random.below(8);
            }
        }
        (Some(there), 4) => extensions[there].value.push(0),
        (Some(there), 5..9) => extensions[there].value = value,
        // A second one of the same kind.
        _ => extensions.push(Extension { oid: kind, critical: random.chance(50), value }),
    }
}

fn mutate_dates(certificate: &mut Certificate, random: &mut Random) {
    let general = |text: &str| tlv(0x18, text.as_bytes());
    let dates = [
        utc("250101000000Z"),
        utc("291231235959Z"),
        utc("300101000001Z"),
        utc("310101000000Z"),
        utc("991231235959Z"),
        utc("3001010000Z"),
        utc("250101000000+0100"),
        utc("251301000000Z"),
        utc("250101240000Z"),
        general("20250101000000Z"),
        general("20310101000000Z"),
        general("20500101000000Z"),
        general("99991231235959Z"),
        general("19600101000000Z"),
        general("20250101000000.5Z"),
        general("00000101000000Z"),
        tlv(0x17, b""),
    ];
    let date = dates[random.below(dates.len())].clone();
    match random.chance(50) {
        true => certificate.not_before = date,
        false => certificate.not_after = date,
    }
}

fn mutate_names(certificate: &mut Certificate, random: &mut Random) {
    let common =
        |tag, text: &str| sequence(&[tlv(0x31, &sequence(&[oid("2.5.4.3"), tlv(tag, text.as_bytes())]))]);
    let names = [
        sequence(&[]),
        name("root"),
        name("mid"),
        name("Root"),
        name(" root "),
        common(0x13, "root"),
        common(0x13, "mid"),
        common(0x1e, "root"),
        sequence(&[tlv(0x31, &[])]),
        name("somebody else"),
    ];
    let name = names[random.below(names.len())].clone();
    match random.chance(50) {
        true => certificate.subject = name,
        false => certificate.issuer = name,
    }
}

fn mutate_fields(certificate: &mut Certificate, random: &mut Random) {
    let algorithms = [
        sequence(&[oid("1.3.101.112"), tlv(0x05, &[])]),
        sequence(&[oid("1.3.101.113")]),
        sequence(&[oid("1.2.840.10045.4.3.2")]),
        sequence(&[]),
    ];
    match random.below(5) {
        0 => certificate.version = random.choose(&[None, Some(0), Some(1), Some(3), Some(0x80)]),
        1 => {
            let serials: [&[u8]; 6] = [&[0], &[0xff], &[], &[0, 0x7f], &[0x7f; 21], &[0x7f; 40]];
            certificate.serial = serials[random.below(serials.len())].to_vec();
        }
        2 => certificate.signed_by = random.choose(&[1, 2, 3, 9]),
        3 => certificate.key = random.choose(&[1, 2, 3, OTHER_KEY]),
        _ => {
            let algorithm = algorithms[random.below(algorithms.len())].clone();
            certificate.algorithms[random.below(2)] = algorithm;
        }
    }
}
