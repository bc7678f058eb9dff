//! What a rotation costs the agent between reading the files and serving them, and what a connection pays for
//! reading the one current snapshot.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use hotcert_tls::credential::{Credential, LeafParts, PartError};
use hotcert_tls::identity::{Identity, Policy};
use hotcert_tls::status::Outcome;
use hotcert_tls::{ClientAuth, ExpectedPeer, Reloader, trial_handshake};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use rustls::pki_types::UnixTime;
use zeroize::Zeroizing;

type Root = CertifiedIssuer<'static, KeyPair>;

fn root() -> Root {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap()
}

/// A P-256 leaf under a P-256 root, as a Secret has them.
fn credential() -> Credential {
    credential_under(&root())
}

fn credential_under(root: &Root) -> Credential {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["payments.shop.svc".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, root).unwrap();
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

/// What a root has withdrawn, so many certificates that were never issued.
fn revocation_list(root: &Root, revoked: u32) -> Vec<u8> {
    let now = SystemTime::now();
    let entry = |number: u32| RevokedCertParams {
        serial_number: [&number.to_be_bytes()[..], &[7; 16]].concat().into(),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + Duration::from_secs(86_400)).into(),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: (1..=revoked).map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(root).unwrap().der().to_vec()
}

/// What revocation costs: a peer's chain in a handshake, whose signature is known, and a look at the file.
fn revocation(criterion: &mut Criterion) {
    let root = root();
    let (policy, now) = (Policy::default(), SystemTime::now());
    let mut group = criterion.benchmark_group("revocation");
    for (name, revoked) in [("no list", None), ("1 revoked", Some(1)), ("10,000 revoked", Some(10_000))] {
        let mut credential = credential_under(&root);
        if let Some(revoked) = revoked {
            credential.revocation = Ok(Zeroizing::new(revocation_list(&root, revoked)));
        }
        let identity = Identity::parse(&credential, &policy, None, now).merge(None).unwrap();
        let (trust, peer) = (identity.trust.unwrap(), identity.leaf.certificate().clone());
        group.bench_function(format!("verify a peer, {name}"), |bencher| {
            bencher.iter(|| trust.verify_server(black_box(&peer), &[], UnixTime::now()).unwrap())
        });
        group.bench_function(format!("parse and validate, {name}"), |bencher| {
            bencher.iter(|| Identity::parse(&credential, &policy, None, now).merge(None).unwrap())
        });
        group.bench_function(format!("parse and validate again, {name}"), |bencher| {
            bencher.iter(|| Identity::parse(&credential, &policy, Some(&trust), now).merge(None).unwrap())
        });
    }
    group.finish();
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

criterion_group!(benches, rotation, revocation, connection);
criterion_main!(benches);
