//! What a rotation costs the agent between reading the files and serving them, and what a connection pays for
//! reading the one current snapshot.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::SystemTime;

use criterion::{Criterion, criterion_group, criterion_main};
use hotcert_tls::credential::{Credential, LeafParts, PartError};
use hotcert_tls::identity::{Identity, Policy};
use hotcert_tls::status::Outcome;
use hotcert_tls::{ClientAuth, ExpectedPeer, Reloader, trial_handshake};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

/// A P-256 leaf under a P-256 root, as a Secret has them.
fn credential() -> Credential {
    let mut root = CertificateParams::default();
    root.distinguished_name.push(rcgen::DnType::CommonName, "root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["payments.shop.svc".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let part = |text: String| Ok(Zeroizing::new(text.into_bytes()));
    Credential {
        leaf: LeafParts::Pair { certificate: part(leaf.pem()), key: part(key.serialize_pem()) },
        trust: part(root.pem()),
        revocation: Err(PartError::Missing { file: "ca.crl".into() }),
        revision: None,
        changed_at: None,
        atomic: true,
    }
}

fn rotation(criterion: &mut Criterion) {
    let (credential, policy) = (credential(), Policy::default());
    let now = SystemTime::now();
    let parse = || Identity::parse(&credential, &policy, None, now).merge(None).unwrap();
    let identity = parse();
    let mut group = criterion.benchmark_group("rotation");
    group.bench_function("fingerprint", |bencher| bencher.iter(|| credential.fingerprint()));
    group.bench_function("parse and validate", |bencher| bencher.iter(parse));
    group.bench_function("build configs and trial handshake", |bencher| {
        bencher.iter(|| trial_handshake(&identity, ClientAuth::Require, now).unwrap())
    });
    group.finish();
}

/// What a connection pays beside its handshake.
fn connection(criterion: &mut Criterion) {
    let (mut source, identities) = Reloader::builder().start_manually();
    assert_eq!(source.offer(&credential()), Outcome::Published);
    let mut group = criterion.benchmark_group("connection");
    group.bench_function("read the snapshot", |bencher| {
        bencher.iter(|| black_box(&identities).current().unwrap())
    });
    let acceptor = identities.acceptor(["h2", "http/1.1"]);
    group.bench_function("read the snapshot and its server configuration", |bencher| {
        bencher.iter(|| black_box(&acceptor).current().unwrap())
    });
    let connector = identities.connector(ExpectedPeer::name("payments.shop.svc").unwrap());
    group.bench_function("read the snapshot and its client configuration", |bencher| {
        bencher.iter(|| black_box(&connector).current().unwrap())
    });
    group.finish();
}

criterion_group!(benches, rotation, connection);
criterion_main!(benches);
