//! Extensions as they should be, and as they should not.

use super::certificate::name;
use super::der::{FALSE, TRUE, octets, oid, sequence, tlv};

pub const KEY_USAGE: &str = "2.5.29.15";
pub const ALTERNATIVE_NAMES: &str = "2.5.29.17";
pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// What certificates have, and what else is understood by some.
pub const KINDS: [&str; 20] = [
    KEY_USAGE,
    ALTERNATIVE_NAMES,
    BASIC_CONSTRAINTS,
    NAME_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    // Key identifiers, of the subject and of the authority.
    "2.5.29.14",
    "2.5.29.35",
    // The issuer's alternative names.
    "2.5.29.18",
    // Distribution points of revocation lists.
    "2.5.29.31",
    // Policies: which, mappings, constraints, inhibited.
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.36",
    "2.5.29.54",
    // Subject directory attributes, a freshest list.
    "2.5.29.9",
    "2.5.29.46",
    // Where the issuer is found, TLS features, proxy certificates.
    "1.3.6.1.5.5.7.1.1",
    "1.3.6.1.5.5.7.1.24",
    "1.3.6.1.5.5.7.1.14",
    // Netscape's kind of a certificate.
    "2.16.840.1.113730.1.1",
    // Of nobody.
    "1.2.3.4",
];

pub const SERVER: &str = "1.3.6.1.5.5.7.3.1";
pub const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const ANY_USAGE: &str = "2.5.29.37.0";
const CODE: &str = "1.3.6.1.5.5.7.3.3";

/// Values that an extension of this kind could have.
pub fn values(kind: &str) -> Vec<Vec<u8>> {
    match kind {
        KEY_USAGE => [&[0x07, 0x80][..], &[0x02, 0x04], &[0x01, 0x06], &[0x05, 0x20], &[0x00], &[0x07, 0x00]]
            .into_iter()
            .chain([&[0x03, 0x08][..], &[0x07, 0xff, 0x80], &[0x02, 0x84], &[]])
            .map(|bits| tlv(0x03, bits))
            .collect(),
        BASIC_CONSTRAINTS => {
            let length = |length: u8| tlv(0x02, &[length]);
            let authority = |rest: Vec<u8>| sequence(&[TRUE.to_vec(), rest]);
            vec![
                sequence(&[]),
                authority(Vec::new()),
                authority(length(0)),
                authority(length(1)),
                authority(length(255)),
                authority([length(0), length(0)].concat()),
                sequence(&[length(0)]),
                sequence(&[FALSE.to_vec()]),
                sequence(&[FALSE.to_vec(), length(0)]),
                sequence(&[vec![0x01, 0x01, 0x01]]),
                Vec::new(),
            ]
        }
        EXTENDED_KEY_USAGE => {
            let usages =
                [&[SERVER, CLIENT][..], &[SERVER], &[CLIENT], &[ANY_USAGE], &[CODE], &[CODE, CLIENT], &[]];
            usages
                .into_iter()
                .map(|usages| sequence(&usages.iter().map(|usage| oid(usage)).collect::<Vec<_>>()))
                .collect()
        }
        ALTERNATIVE_NAMES | "2.5.29.18" => {
            let mut values: Vec<_> = names().into_iter().map(|name| sequence(&[name])).collect();
            values.push(sequence(&[]));
            values.push(sequence(&[dns("a.example.test"), dns("b.other.test")]));
            values.push(sequence(&[dns("a.example.test"), tlv(0x87, &[10, 0, 0, 1]), dns("c.example.test")]));
            values
        }
        NAME_CONSTRAINTS => constraints(),
        "2.5.29.14" => vec![octets(&[1; 20]), octets(&[]), tlv(0x03, &[0]), vec![0x04]],
        "2.5.29.35" => {
            vec![sequence(&[tlv(0x80, &[1; 20])]), sequence(&[]), sequence(&[tlv(0x82, &[0x10])]), Vec::new()]
        }
        "2.5.29.31" | "2.5.29.46" => {
            let full = tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://crl.example.test/a")));
            vec![sequence(&[sequence(&[full])]), sequence(&[]), sequence(&[sequence(&[])])]
        }
        "2.5.29.32" => {
            let policy = |policy| sequence(&[oid(policy)]);
            vec![
                sequence(&[policy("2.5.29.32.0")]),
                sequence(&[policy("1.2.3.5")]),
                sequence(&[policy("1.2.3.5"), policy("1.2.3.5")]),
                sequence(&[]),
            ]
        }
        "2.5.29.33" => vec![
            sequence(&[sequence(&[oid("1.2.3.5"), oid("1.2.3.6")])]),
            sequence(&[sequence(&[oid("2.5.29.32.0"), oid("1.2.3.6")])]),
        ],
        "2.5.29.36" => vec![sequence(&[tlv(0x80, &[0])]), sequence(&[tlv(0x81, &[0])]), sequence(&[])],
        "2.5.29.54" => vec![tlv(0x02, &[0]), tlv(0x02, &[1]), tlv(0x02, &[0xff])],
        "1.3.6.1.5.5.7.1.1" => {
            vec![
                sequence(&[sequence(&[oid("1.3.6.1.5.5.7.48.1"), tlv(0x86, b"http://a.test")])]),
                sequence(&[]),
            ]
        }
        "1.3.6.1.5.5.7.1.24" => vec![sequence(&[tlv(0x02, &[5])])],
        "1.3.6.1.5.5.7.1.14" => vec![sequence(&[sequence(&[oid("1.3.6.1.5.5.7.21.1")])])],
        "2.16.840.1.113730.1.1" => [&[0x07, 0x80][..], &[0x06, 0x40], &[0x02, 0x04]]
            .into_iter()
            .map(|bits| tlv(0x03, bits))
            .collect(),
        _ => vec![tlv(0x05, &[]), octets(b"?"), Vec::new()],
    }
}

pub fn dns(name: &str) -> Vec<u8> {
    tlv(0x82, name.as_bytes())
}

fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = [
        "a.example.test",
        "A.Example.TEST",
        "*.example.test",
        "*.test",
        "*",
        "a.*.test",
        "a*.example.test",
        "*a.example.test",
        "b.other.test",
        "example.test",
        ".example.test",
        "a.example.test.",
        "a_b.example.test",
        "-a.example.test",
        "a..example.test",
        "10.0.0.1",
        "a.example.test\0.other.test",
        "xn--bcher-kva.example.test",
        "b\u{fc}cher.example.test",
        " a.example.test",
        "",
        "localhost",
    ]
    .into_iter()
    .map(dns)
    .collect();
    names.extend([
        tlv(0x87, &[10, 0, 0, 1]),
        tlv(0x87, &[10, 0, 0]),
        tlv(0x87, &[0; 16]),
        tlv(0x86, b"spiffe://example.test/ns/a"),
        tlv(0x86, b"https://a.example.test:1/x"),
        tlv(0x86, b"not a uri"),
        tlv(0x81, b"a@example.test"),
        tlv(0x81, b"a"),
        tlv(0xa4, &name("leaf")),
        tlv(0xa0, &[oid("1.2.3.4"), tlv(0xa0, &tlv(0x0c, b"x"))].concat()),
        tlv(0x88, &[42, 3, 4]),
        tlv(0x8f, b"?"),
    ]);
    names
}

fn constraints() -> Vec<Vec<u8>> {
    let mut bases: Vec<_> = [
        "example.test",
        "EXAMPLE.test",
        ".example.test",
        "a.example.test",
        "other.test",
        ".other.test",
        "*.example.test",
        "",
        ".",
        "example.test.",
        "example_.test",
        "b\u{fc}cher.test",
    ]
    .into_iter()
    .map(dns)
    .collect();
    bases.extend([
        tlv(0x87, &[10, 0, 0, 0, 255, 0, 0, 0]),
        tlv(0x87, &[192, 168, 0, 0, 255, 255, 0, 0]),
        tlv(0x87, &[10, 0, 0, 0, 255, 0, 255, 0]),
        tlv(0x87, &[10, 0, 0, 1]),
        tlv(0x87, &[0; 32]),
        tlv(0x86, b"example.test"),
        tlv(0x86, b".example.test"),
        tlv(0x81, b"example.test"),
        tlv(0xa4, &name("leaf")),
        tlv(0xa4, &sequence(&[])),
        tlv(0xa0, &[oid("1.2.3.4"), tlv(0xa0, &tlv(0x0c, b"x"))].concat()),
        tlv(0x88, &[42, 3, 4]),
    ]);
    let mut all = vec![sequence(&[]), sequence(&[tlv(0xa0, &[])]), sequence(&[tlv(0xa1, &[])]), Vec::new()];
    for base in bases {
        let subtree = sequence(std::slice::from_ref(&base));
        all.push(sequence(&[tlv(0xa0, &subtree)]));
        all.push(sequence(&[tlv(0xa1, &subtree)]));
        all.push(sequence(&[tlv(0xa0, &[subtree, sequence(&[dns("example.test")])].concat())]));
        // From one level below.
        all.push(sequence(&[tlv(0xa0, &sequence(&[base, tlv(0x80, &[1])]))]));
    }
    all
}
