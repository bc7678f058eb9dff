//! What a rotation costs the agent between reading the files and serving them, and what a connection pays for
//! reading the one current snapshot.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::SystemTime;

use criterion::{Criterion, criterion_group, criterion_main};
use hotcert_agent::tls::config::{ClientAuth, Configs};
use hotcert_agent::tls::credential::{Credential, LeafParts};
use hotcert_agent::tls::identity::{Identity, Policy};
use hotcert_agent::tls::reload::trial_handshake::trial_handshake;
use hotcert_agent::tls::snapshot::{self, Delivery};
use hotcert_agent::tls::source::SourceKind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

/// A P-256 leaf under a P-256 root, as a Secret has them.
fn credential() -> Credential {
    let mut root = CertificateParams::default();
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
    let build = || Configs::build(&identity, ClientAuth::Require).unwrap();
    let configs = build();
    let mut group = criterion.benchmark_group("rotation");
    group.bench_function("fingerprint", |bencher| bencher.iter(|| credential.fingerprint()));
    group.bench_function("parse and validate", |bencher| bencher.iter(parse));
    group.bench_function("build configs", |bencher| bencher.iter(build));
    group.bench_function("trial handshake", |bencher| {
        bencher.iter(|| trial_handshake(&identity, &configs, now).unwrap())
    });
    group.finish();
}

fn connection(criterion: &mut Criterion) {
    let identity =
        Identity::parse(&credential(), &Policy::default(), None, SystemTime::now()).merge(None).unwrap();
    let configs = Configs::build(&identity, ClientAuth::Require).unwrap();
    let (mut publisher, current) = snapshot::channel();
    publisher.publish(
        identity,
        configs,
        Delivery { from: SourceKind::Volume, changed_at: None, written_at: None },
    );
    criterion.bench_function("connection/read the snapshot", |bencher| {
        bencher.iter(|| black_box(&current).load().unwrap())
    });
}

criterion_group!(benches, rotation, connection);
criterion_main!(benches);
