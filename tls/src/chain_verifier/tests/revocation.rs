//! Revocation lists: who is refused by them, and which of them are in force.

use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};

use super::*;
use crate::credential::Credential;
use crate::fixtures::{Root, issue, root};
use crate::identity::{Trust, Validation};

fn at(days: i64) -> SystemTime {
    let distance = DAY * u32::try_from(days.abs()).unwrap();
    if days < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
}

/// Due tomorrow.
fn list(root: &Root, number: u64, revoked: &[&Pair]) -> String {
    fixtures::revocation_list(root, number, revoked, (at(-2), at(1)))
}

fn stale(root: &Root, number: u64) -> String {
    fixtures::revocation_list(root, number, &[], (at(-2), at(-1)))
}

fn credential(roots: &[&Root], lists: &str) -> Credential {
    let mut credential = fixtures::credential(&issue(roots[0], |_| {}), roots);
    credential.revocation = Ok(lists.as_bytes().to_vec().into());
    credential
}

fn validate(roots: &[&Root], lists: &str, served: Option<&Arc<Trust>>) -> Validation {
    Identity::parse(&credential(roots, lists), &Policy::default(), served, SystemTime::now())
}

/// What is in force, and why something of the file is not.
fn next(roots: &[&Root], lists: &str, served: &Arc<Trust>) -> (Arc<Trust>, Option<RejectionReason>) {
    let validation = validate(roots, lists, Some(served));
    let reason = validation.revocation().map(|rejection| rejection.reason());
    (validation.trust.unwrap().unwrap(), reason)
}

fn first(roots: &[&Root], lists: &str) -> Result<Arc<Trust>, RejectionReason> {
    let validation = validate(roots, lists, None);
    assert_eq!(validation.revocation(), None);
    validation.trust.map(Option::unwrap).map_err(|rejection| rejection.reason())
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    let sections = crate::credential::pem::sections(pair.certificate.as_bytes()).unwrap();
    sections.iter().map(|section| CertificateDer::from(section.der.to_vec())).collect()
}

fn verdict(trust: &Trust, pair: &Pair) -> Result<(), String> {
    let chain = chain(pair);
    let both = [Purpose::Client, Purpose::Server].map(|purpose| {
        let verified = trust.verifier.check(&chain[0], &chain[1..], purpose, UnixTime::now());
        verified.map_err(|error| error.to_string())
    });
    assert_eq!(both[0], both[1]);
    both[0].clone()
}

#[test]
fn revoked_peers_are_refused_and_no_others() {
    let root = root("root");
    let (good, bad) = (issue(&root, |_| {}), issue(&root, |_| {}));
    let trust = first(&[&root], &list(&root, 1, &[&bad])).unwrap();
    assert_eq!(verdict(&trust, &good), Ok(()));
    assert!(verdict(&trust, &bad).unwrap_err().contains("Revoked"));
    assert!(trust.verifier.revokes(&chain(&bad), UnixTime::now()));
    assert!(!trust.verifier.revokes(&chain(&good), UnixTime::now()));
}

#[test]
fn an_authority_that_is_revoked_takes_those_below_it_along() {
    let root = root("root");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "mid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mid = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let issued = issue(&mid, |_| {});
    let below = Pair { certificate: format!("{}{}", issued.certificate, mid.pem()), key: issued.key };
    let of_mid = Pair { certificate: mid.pem(), key: String::new() };
    let judge = |lists: String| verdict(&first(&[&root], &lists).unwrap(), &below);
    assert!(judge(list(&root, 1, &[])).unwrap_err().contains("NoList"), "both need one");
    assert!(judge(list(&mid, 1, &[]) + &stale(&root, 1)).unwrap_err().contains("Stale"));
    assert_eq!(judge(list(&root, 1, &[]) + &list(&mid, 1, &[])), Ok(()));
    assert!(judge(list(&root, 1, &[&of_mid]) + &list(&mid, 1, &[])).unwrap_err().contains("Revoked"));
    assert!(judge(list(&root, 1, &[]) + &list(&mid, 1, &[&below])).unwrap_err().contains("Revoked"));
}

#[test]
fn where_there_are_lists_a_missing_stale_or_forged_one_trusts_nobody() {
    let (root, other) = (root("root"), root("other"));
    let (under_root, under_other) = (issue(&root, |_| {}), issue(&other, |_| {}));
    let judge = |lists: &str, pair| verdict(&first(&[&root, &other], lists).unwrap(), pair);

    let of_root = list(&root, 1, &[]);
    assert_eq!(judge(&of_root, &under_root), Ok(()));
    assert!(judge(&of_root, &under_other).unwrap_err().contains("NoList"));
    assert_eq!(judge(&(of_root + &list(&other, 1, &[])), &under_other), Ok(()));
    assert!(judge(&stale(&root, 1), &under_root).unwrap_err().contains("Stale"));

    let mut credential = credential(&[&root], &stale(&root, 1));
    let policy = Policy { revocation_grace: 2 * DAY, ..Policy::default() };
    let graceful = Identity::parse(&credential, &policy, None, SystemTime::now()).trust.unwrap().unwrap();
    assert_eq!(verdict(&graceful, &under_root), Ok(()));

    let forged = list(&fixtures::root("root"), 1, &[]);
    assert_eq!(first(&[&root], &forged).unwrap_err(), RejectionReason::UnsignedRevocationList);
    credential.revocation = Ok(b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_vec().into());
    let broken = Identity::parse(&credential, &Policy::default(), None, SystemTime::now());
    assert_eq!(broken.trust.unwrap_err().reason(), RejectionReason::MalformedPem);
}

#[test]
fn the_list_of_an_authority_that_may_sign_none_does_not_count() {
    let signer = root("root");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::from_pem(&signer.key().serialize_pem()).unwrap();
    let trusted = CertifiedIssuer::self_signed(params, key).unwrap();
    let trust = first(&[&trusted], &list(&signer, 1, &[])).unwrap();
    assert!(verdict(&trust, &issue(&trusted, |_| {})).unwrap_err().contains("MayNotSign"));
}

#[test]
fn the_list_of_each_authority_goes_forwards_only_and_holds_up_no_other() {
    let (one, two) = (root("one"), root("two"));
    let (bad, worse) = (issue(&one, |_| {}), issue(&two, |_| {}));
    let roots = [&one, &two];
    let served = first(&roots, &(list(&one, 10, &[&bad]) + &list(&two, 1, &[]))).unwrap();

    let (trust, reason) = next(&roots, &(list(&one, 9, &[]) + &list(&two, 2, &[&worse])), &served);
    assert_eq!(reason, Some(RejectionReason::OlderRevocationList));
    assert!(verdict(&trust, &bad).unwrap_err().contains("Revoked"), "the newer one stays in force");
    assert!(verdict(&trust, &worse).unwrap_err().contains("Revoked"), "the other one is taken");

    // Its number is that of another list, which was made later.
    let earlier = fixtures::revocation_list(&one, 10, &[], (at(-3), at(1)));
    let (_, reason) = next(&roots, &(earlier + &list(&two, 1, &[])), &served);
    assert_eq!(reason, Some(RejectionReason::OlderRevocationList));

    let both = list(&one, 9, &[]) + &list(&one, 11, &[]) + &list(&two, 1, &[]);
    let (trust, reason) = next(&roots, &both, &first(&roots, &list(&two, 1, &[])).unwrap());
    assert_eq!((verdict(&trust, &bad), reason), (Ok(()), None), "the newest of a file counts");
}

#[test]
fn lists_that_vanish_or_break_stay_in_force_and_hold_up_no_removal_of_a_root() {
    let (one, two) = (root("one"), root("two"));
    let bad = issue(&one, |_| {});
    let served = first(&[&one, &two], &(list(&one, 1, &[&bad]) + &list(&two, 1, &[]))).unwrap();
    let forged = list(&root("one"), 2, &[]);
    for (lists, reason) in [
        ("", Some(RejectionReason::MalformedPem)),
        ("-----BEGIN X509 CRL-----", Some(RejectionReason::MalformedPem)),
        (&list(&two, 2, &[]), None),
        (&(list(&two, 2, &[]) + &forged), Some(RejectionReason::UnsignedRevocationList)),
    ] {
        let (trust, found) = next(&[&one], lists, &served);
        assert_eq!(found, reason, "{lists}");
        assert_eq!(trust.roots.len(), 1, "the root is gone: {lists}");
        assert!(verdict(&trust, &bad).unwrap_err().contains("Revoked"), "{lists}");
    }
    let (trust, _) = next(&[&one, &two], &list(&two, 2, &[]), &served);
    let notices = &trust.revocation.as_ref().unwrap().notices;
    assert!(notices.len() == 1 && notices[0].contains("CN=one is gone from the file"), "{notices:?}");

    let mut without = credential(&[&one], "");
    without.revocation = Err(crate::credential::PartError::Missing { file: "ca.crl".into() });
    let validation = Identity::parse(&without, &Policy::default(), Some(&served), SystemTime::now());
    assert_eq!(validation.revocation().unwrap().reason(), RejectionReason::MissingFile);
    let trust = validation.trust.unwrap().unwrap();
    assert!(verdict(&trust, &bad).unwrap_err().contains("Revoked"));
    assert_eq!(trust.revocation.as_ref().unwrap().lists.len(), 1, "that of the removed root is gone with it");
}

#[test]
fn two_roots_of_one_name_have_a_list_each() {
    let (old, new) = (root("shop"), root("shop"));
    let bad = [issue(&old, |_| {}), issue(&new, |_| {})];
    let good = [issue(&old, |_| {}), issue(&new, |_| {})];
    let lists = list(&old, 7, &[&bad[0]]) + &list(&new, 1, &[&bad[1]]);
    let trust = first(&[&old, &new], &lists).unwrap();
    for number in 0..2 {
        assert!(verdict(&trust, &bad[number]).unwrap_err().contains("Revoked"));
        assert_eq!(verdict(&trust, &good[number]), Ok(()));
    }
    // When the old root goes, its list may stay for a while.
    let (trust, reason) = next(&[&new], &lists, &trust);
    assert_eq!((verdict(&trust, &good[1]), reason), (Ok(()), None));
    let (trust, reason) = next(&[&new], &list(&new, 2, &[&bad[1]]), &trust);
    assert_eq!((trust.revocation.as_ref().unwrap().lists.len(), reason), (1, None));
}

#[test]
fn a_list_for_a_part_of_the_certificates_is_about_those() {
    let root = root("root");
    let uri = |number: u8| format!("http://crl.test/{number}");
    let part = |number: u8| {
        let distribution_point = CrlDistributionPoint { uris: vec![uri(number)] };
        Some(CrlIssuingDistributionPoint { distribution_point, scope: Some(CrlScope::UserCertsOnly) })
    };
    let of_part = |number: u8| {
        issue(&root, |leaf| {
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![uri(number)] }];
        })
    };
    let (good, bad, other) = (of_part(1), of_part(1), of_part(2));
    let first_part = fixtures::revocation_list_with(&root, 1, &[&bad, &other], (at(-2), at(1)), part(1));
    let trust = first(&[&root], &first_part).unwrap();
    assert_eq!(verdict(&trust, &good), Ok(()));
    assert!(verdict(&trust, &bad).unwrap_err().contains("Revoked"));
    assert!(verdict(&trust, &other).unwrap_err().contains("NoList"), "it is about others");
    let second_part = fixtures::revocation_list_with(&root, 1, &[], (at(-2), at(1)), part(2));
    assert_eq!(verdict(&first(&[&root], &(first_part + &second_part)).unwrap(), &other), Ok(()));
}

#[test]
fn the_signature_of_a_list_is_computed_once() {
    let root = root("root");
    let (trust, pair) = (first(&[&root], &list(&root, 1, &[])).unwrap(), issue(&root, |_| {}));
    // A thread has its own cache of signatures.
    let computed = std::thread::scope(|threads| {
        let handshake = threads.spawn(|| {
            verdict(&trust, &pair).unwrap();
            crate::crypto::signature_cache::COMPUTED.get()
        });
        handshake.join().unwrap()
    });
    assert_eq!(computed, 1, "that of the certificate");
}
