//! Every rejection, and that leaf and trust are validated apart.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

mod formats;
mod names;

use super::*;
use crate::credential::{LeafParts, Part, PartError};

const DAY: Duration = Duration::from_secs(86_400);

type Root = CertifiedIssuer<'static, KeyPair>;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn root(name: &str) -> Root {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = (now() - 30 * DAY).into();
    params.not_after = (now() + 30 * DAY).into();
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["payments.shop.svc".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://shop/ns/shop/sa/payments".try_into().unwrap()));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (now() - DAY).into();
    params.not_after = (now() + DAY).into();
    params
}

struct Issued {
    certificate: String,
    key: String,
}

fn issue(issuer: &Root, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = leaf_params();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn part(text: &str) -> Part {
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

fn credential(certificate: &str, key: &str, trust: &str) -> Credential {
    Credential {
        leaf: LeafParts::Pair { certificate: part(certificate), key: part(key) },
        trust: part(trust),
        revocation: Err(crate::credential::PartError::Missing { file: "ca.crl".into() }),
        revision: None,
        changed_at: None,
        atomic: true,
    }
}

fn validate(credential: &Credential) -> Validation {
    Identity::parse(credential, &Policy { serves: true, ..Policy::default() }, None, now())
}

fn leaf_reason(validation: &Validation) -> &'static str {
    validation.leaf.as_ref().err().map_or("accepted", |rejection| rejection.reason().as_str())
}

#[test]
fn valid_candidate_becomes_an_identity() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    let validation = validate(&credential(&issued.certificate, &issued.key, &root.pem()));
    let identity = validation.merge(None).unwrap();
    assert_eq!(identity.leaf.names.labels(), ["spiffe://shop/ns/shop/sa/payments", "dns:payments.shop.svc"]);
    assert_eq!(identity.leaf.roles, Roles { server: true, client: true });
    assert_eq!(identity.leaf.not_after, now() + DAY);
    assert_eq!(identity.trust.unwrap().roots.len(), 1);
}

#[test]
fn each_fault_of_a_leaf_has_its_reason() {
    let (ours, other) = (root("root"), root("other"));
    let good = issue(&ours, |_| {});
    let second = issue(&ours, |_| {});
    let reason =
        |issued: &Issued| leaf_reason(&validate(&credential(&issued.certificate, &issued.key, &ours.pem())));
    assert_eq!(reason(&Issued { certificate: good.certificate.clone(), key: second.key }), "key_mismatch");
    assert_eq!(reason(&issue(&ours, |p| p.not_after = (now() - Duration::from_secs(1)).into())), "expired");
    assert_eq!(
        reason(&issue(&ours, |p| p.not_before = (now() + Duration::from_secs(1)).into())),
        "not_yet_valid"
    );
    assert_eq!(reason(&issue(&ours, |p| p.subject_alt_names.clear())), "name_missing");
    assert_eq!(
        reason(&issue(&ours, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning])),
        "usage_missing"
    );
    assert_eq!(
        reason(&issue(&ours, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])),
        "usage_missing"
    );
    assert_eq!(
        reason(&issue(&ours, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        "malformed_certificate"
    );
    assert_eq!(reason(&issue(&other, |_| {})), "untrusted_by_own_bundle");
    let cut = Issued {
        certificate: good.certificate[..good.certificate.len() / 2].to_owned(),
        key: good.key.clone(),
    };
    assert_eq!(reason(&cut), "malformed_pem");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        reason(&Issued { certificate: garbage.into(), key: good.key.clone() }),
        "malformed_certificate"
    );
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        reason(&Issued { certificate: good.certificate.clone(), key: garbage.into() }),
        "malformed_key"
    );
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(reason(&Issued { certificate: good.certificate, key: encrypted.into() }), "encrypted_key");
}

#[test]
fn a_root_of_the_same_name_with_another_key_is_not_the_issuer() {
    let (ours, impostor) = (root("root"), root("root"));
    let issued = issue(&impostor, |_| {});
    assert_eq!(
        leaf_reason(&validate(&credential(&issued.certificate, &issued.key, &ours.pem()))),
        "untrusted_by_own_bundle"
    );
}

#[test]
fn expired_root_is_refused_as_openssl_peers_would() {
    let mut params = ca_params("old");
    params.not_after = (now() - DAY).into();
    let old = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issued = issue(&old, |_| {});
    assert_eq!(leaf_reason(&validate(&credential(&issued.certificate, &issued.key, &old.pem()))), "expired");
}

#[test]
fn expired_copy_of_a_renewed_root_is_ignored() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    for days in 1..6 {
        let mut params = ca_params("root");
        params.not_after = (now() - days * DAY).into();
        let expired = params.self_signed(root.key()).unwrap();
        let bundle = format!("{}{}", expired.pem(), root.pem());
        let identity = validate(&credential(&issued.certificate, &issued.key, &bundle)).merge(None).unwrap();
        assert_eq!(identity.trust.unwrap().roots.len(), 1);
    }
}

#[test]
fn leaf_in_the_bundle_cannot_become_a_root() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    let bundle = format!("{}{}", root.pem(), issued.certificate);
    let validation = validate(&credential(&issued.certificate, &issued.key, &bundle));
    let roots = &validation.trust.unwrap().unwrap().roots;
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].subject, "CN=root");
}

#[test]
fn leaf_is_usable_only_as_long_as_its_whole_chain() {
    let root = root("root");
    let mut params = ca_params("middle");
    params.not_after = (now() + DAY / 2).into();
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let issued = issue(&middle, |_| {});
    let validation =
        validate(&credential(&format!("{}{}", issued.certificate, middle.pem()), &issued.key, &root.pem()));
    let leaf = validation.leaf.unwrap();
    assert_eq!((leaf.not_after, leaf.usable_until), (now() + DAY, now() + DAY / 2));
}

#[test]
fn missing_intermediate_and_foreign_root_have_different_reasons() {
    let root = root("root");
    let middle =
        CertifiedIssuer::signed_by(ca_params("middle"), KeyPair::generate().unwrap(), &root).unwrap();
    let stray = CertifiedIssuer::signed_by(ca_params("stray"), KeyPair::generate().unwrap(), &root).unwrap();
    let issued = issue(&middle, |_| {});
    let validate = |chain: String| leaf_reason(&validate(&credential(&chain, &issued.key, &root.pem())));
    assert_eq!(validate(format!("{}{}", issued.certificate, middle.pem())), "accepted");
    assert_eq!(validate(format!("{}{}", issued.certificate, stray.pem())), "chain_broken");
    assert_eq!(validate(issued.certificate.clone()), "untrusted_by_own_bundle");
}

/// Peers with the same library would refuse it.
#[test]
fn chain_that_peers_would_not_verify_is_refused() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    let validate = |more: &dyn Fn(usize) -> String| {
        let chain = (1..=10).fold(issued.certificate.clone(), |chain, number| chain + &more(number));
        validate(&credential(&chain, &issued.key, &root.pem()))
    };
    let named = |name: String| {
        CertifiedIssuer::self_signed(ca_params(&name), KeyPair::generate().unwrap()).unwrap().pem()
    };
    let needless = validate(&|number| named(format!("needless {number}")));
    assert_eq!(leaf_reason(&needless), "chain_too_costly");
    assert_eq!(
        needless.leaf.unwrap_err().to_string(),
        "the chain would cost too much to verify: it has 11 certificates, and 10 are the most; publish the leaf \
         followed by the intermediates that lead to its root, and nothing else"
    );
    let same_name = validate(&|number| if number < 10 { named("root".into()) } else { String::new() });
    assert_eq!(leaf_reason(&same_name), "chain_too_costly");
}

/// A Secret of an operator's own making: it is served, and what strangers cost stays bounded.
#[test]
fn leaf_of_any_root_is_accepted_among_a_hundred_of_one_name() {
    let roots: Vec<_> = (0..100).map(|_| root("root")).collect();
    let bundle: String = roots.iter().map(|root| root.pem()).collect();
    for issuer in [&roots[0], &roots[98]] {
        let issued = issue(issuer, |_| {});
        assert_eq!(
            leaf_reason(&validate(&credential(&issued.certificate, &issued.key, &bundle))),
            "accepted"
        );
    }
}

#[test]
fn leaf_is_usable_only_once_its_whole_chain_is_valid() {
    let root = root("root");
    let mut params = ca_params("middle");
    params.not_before = (now() - DAY / 2).into();
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let issued = issue(&middle, |_| {});
    let chain = format!("{}{}", issued.certificate, middle.pem());
    let leaf = validate(&credential(&chain, &issued.key, &root.pem())).leaf.unwrap();
    assert_eq!((leaf.not_before, leaf.usable_from), (now() - DAY, now() - DAY / 2));
}

#[test]
fn leaf_without_client_auth_has_the_server_role_only() {
    let root = root("root");
    let issued = issue(&root, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let validation = validate(&credential(&issued.certificate, &issued.key, &root.pem()));
    assert_eq!(validation.leaf.unwrap().roles, Roles { server: true, client: false });
}

#[test]
fn leaf_must_carry_the_expected_names() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    let with = |name: &str| {
        let policy = Policy { expected_names: vec![name.parse().unwrap()], ..Policy::default() };
        let validation =
            Identity::parse(&credential(&issued.certificate, &issued.key, &root.pem()), &policy, None, now());
        leaf_reason(&validation)
    };
    assert_eq!(with("dns:payments.shop.svc"), "accepted");
    assert_eq!(with("dns:refunds.shop.svc"), "name_missing");
}

#[test]
fn removed_root_goes_even_when_the_leaf_beside_is_refused() {
    let (old, new) = (root("old"), root("new"));
    let served_leaf = issue(&old, |_| {});
    let both = format!("{}{}", old.pem(), new.pem());
    let served =
        validate(&credential(&served_leaf.certificate, &served_leaf.key, &both)).merge(None).unwrap();
    let (a, b) = (issue(&new, |_| {}), issue(&new, |_| {}));
    let validation = validate(&credential(&a.certificate, &b.key, &new.pem()));
    let next = validation.merge(Some(&served)).unwrap();
    assert_eq!(leaf_reason(&validation), "key_mismatch");
    assert!(next.leaf.same_as(&served.leaf));
    assert_eq!(next.trust.as_ref().unwrap().roots.len(), 1);
    assert!(next.trust.unwrap().lost_a_root_of(served.trust.as_ref().unwrap()));
}

#[test]
fn bad_bundle_keeps_the_served_trust_which_verifies_the_leaf() {
    let root = root("root");
    let first = issue(&root, |_| {});
    let served = validate(&credential(&first.certificate, &first.key, &root.pem())).merge(None).unwrap();
    let second = issue(&root, |_| {});
    for (bundle, reason) in [
        ("", RejectionReason::EmptyBundle),
        ("hello", RejectionReason::MalformedPem),
        ("-----BEGIN CERTIFICATE-----\nAAAA", RejectionReason::MalformedPem),
    ] {
        let candidate = credential(&second.certificate, &second.key, bundle);
        let validation = Identity::parse(&candidate, &Policy::default(), served.trust.as_ref(), now());
        assert_eq!(validation.trust.as_ref().err().map(Rejection::reason), Some(reason));
        let next = validation.merge(Some(&served)).unwrap();
        assert!(!next.leaf.same_as(&served.leaf));
        assert_eq!(next.trust.unwrap().sha256, served.trust.as_ref().unwrap().sha256);
        // With nothing served before, nothing is served.
        assert!(validate(&candidate).merge(None).is_none());
    }
}

#[test]
fn order_and_duplicates_in_a_bundle_do_not_matter() {
    let (a, b) = (root("a"), root("b"));
    let issued = issue(&a, |_| {});
    let digest = |bundle: String| {
        validate(&credential(&issued.certificate, &issued.key, &bundle))
            .trust
            .unwrap()
            .unwrap()
            .sha256
            .clone()
    };
    let one = digest(format!("{}{}", a.pem(), b.pem()));
    assert_eq!(one, digest(format!("{}{}{}", b.pem(), a.pem(), b.pem())));
    assert_ne!(one, digest(a.pem()));
}

#[test]
fn public_server_certificate_needs_no_bundle_and_has_no_client_role() {
    let public = root("a public authority");
    let issued = issue(&public, |_| {});
    let mut candidate = credential(&issued.certificate, &issued.key, "");
    candidate.trust = Err(PartError::Missing { file: "ca.crt".into() });
    let policy = Policy { public_server: true, serves: true, ..Policy::default() };
    let identity = Identity::parse(&candidate, &policy, None, now()).merge(None).unwrap();
    assert!(identity.trust.is_none());
    assert_eq!(identity.leaf.roles, Roles { server: true, client: false });
    assert_eq!(leaf_reason(&validate(&candidate)), "missing_file");
}

#[test]
fn credential_bundle_starts_with_the_key() {
    let root = root("root");
    let issued = issue(&root, |_| {});
    let bundle = Credential {
        leaf: LeafParts::Bundle(part(&format!("{}{}", issued.key, issued.certificate))),
        trust: part(&root.pem()),
        revocation: Err(crate::credential::PartError::Missing { file: "ca.crl".into() }),
        revision: None,
        changed_at: None,
        atomic: true,
    };
    assert_eq!(leaf_reason(&validate(&bundle)), "accepted");
}

#[test]
fn rejections_never_quote_a_key() {
    let root = root("root");
    let (a, b) = (issue(&root, |_| {}), issue(&root, |_| {}));
    let secret = b.key.lines().nth(1).unwrap().to_owned();
    for key in [b.key.clone(), b.key.replace("END", "MID"), format!("{}{}", b.key, b.key)] {
        let candidate = credential(&a.certificate, &key, &root.pem());
        let validation = validate(&candidate);
        let output = format!("{} {:?} {candidate:?}", validation.leaf.as_ref().unwrap_err(), validation.leaf);
        assert!(!output.contains(&secret), "{output}");
    }
}
