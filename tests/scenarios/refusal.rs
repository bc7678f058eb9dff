//! A candidate that a peer would not accept changes nothing that is served: its reason is in health, in
//! the log once, and counted once; the next good candidate is taken.

use std::fs;
use std::time::{Duration, SystemTime};

use kit::agent::Launch;
use kit::client::{SERVER, accepted, served};
use kit::echo::Echo;
use kit::forge::{Forge, from_now};
use kit::pki::{Pair, Pki};
use kit::until;
use kit::volume::Volume;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

struct Case {
    forge: Forge,
    good: Pair,
    volume: Volume,
}

impl Case {
    fn publish(&self, pair: &Pair) {
        self.volume.publish(pair, &self.forge.cert);
    }

    fn publish_leaf(&self, change: impl FnOnce(&mut CertificateParams)) {
        self.publish(&self.forge.leaf_with(SERVER, change));
    }

    /// The good files, but for one of them.
    fn publish_but(&self, name: &str, content: &str) {
        let files =
            [("tls.crt", self.good.cert.as_str()), ("tls.key", &self.good.key), ("ca.crt", &self.forge.cert)];
        self.volume.publish_files(&files.map(|(of, good)| (of, if of == name { content } else { good })));
    }
}

#[track_caller]
fn refuses(part: &str, reason: &str, args: &[&str], candidate: impl FnOnce(&Case)) {
    let (pki, forge, echo) = (Pki::default(), Forge::default(), Echo::default());
    let case = Case { good: forge.leaf(SERVER), volume: pki.volume(SERVER), forge };
    case.publish(&case.good);
    let client = pki.credentials("client", &case.forge.leaf("storefront"), &case.forge.cert);
    let args = ["--poll-interval", "100ms"].iter().chain(args);
    let agent = Launch::new(&case.volume.path).inbound("", echo.address).args(args).ready();
    let serves = |leaf: &Pair| {
        assert_eq!(served(agent.address("inbound"), &client).as_ref(), Some(&leaf.serial));
        assert!(accepted(agent.address("inbound"), &client));
    };
    serves(&case.good);

    candidate(&case);
    let health = agent.wait_until("a refusal", |health| !health["refused"][part].is_null());
    assert_eq!(health["refused"][part]["reason"], reason, "{health:#}");
    assert_eq!(health["last_attempt"]["outcome"], "refused");
    assert_eq!(health["last_attempt"]["reason"], reason);
    assert_ne!(health["last_attempt"]["detail"].as_str().unwrap_or_default(), "");
    serves(&case.good);
    agent.wait_looks(3);
    serves(&case.good);
    assert_eq!(agent.admin("/readyz").status, 200);
    let said = format!(r#""reason":"{reason}""#);
    agent.until_logged(&said);
    assert_eq!(agent.logged(&said), 1, "in the log once");
    let labels = [("outcome", "refused"), ("reason", reason)];
    assert_eq!(agent.metrics().one("hotcert_reloads_total", &labels), 1.0);

    let next = case.forge.leaf(SERVER);
    case.publish(&next);
    let health = agent.wait_serving(&next.serial);
    assert!(health["refused"]["leaf"].is_null() && health["refused"]["trust"].is_null(), "{health:#}");
    serves(&next);
}

/// One test for each row: what is published, and the part and reason of its refusal.
macro_rules! table {
    ($($name:ident: $part:literal $reason:literal $(with $args:expr)?, |$case:ident| $publish:expr;)*) => {$(
        #[test]
        fn $name() {
            let args: &[&[&str]] = &[$($args)?];
            refuses($part, $reason, &args.concat(), |$case| { $publish; });
        }
    )*};
}

table! {
    key_is_missing: "leaf" "missing_file", |case|
        case.volume.publish_files(&[("tls.crt", &case.good.cert), ("ca.crt", &case.forge.cert)]);
    bundle_is_missing: "trust" "missing_file", |case|
        case.volume.publish_files(&[("tls.crt", &case.good.cert), ("tls.key", &case.good.key)]);
    leaf_and_key_are_missing: "leaf" "missing_file", |case|
        case.volume.publish_files(&[("ca.crt", &case.forge.cert)]);
    key_is_a_directory: "leaf" "unreadable", |case| case.volume.publish_odd(|directory| {
        fs::write(directory.join("tls.crt"), &case.good.cert).unwrap();
        fs::write(directory.join("ca.crt"), &case.forge.cert).unwrap();
        fs::create_dir(directory.join("tls.key")).unwrap();
    });
    certificate_is_huge: "leaf" "too_large", |case|
        case.publish_but("tls.crt", &("#".repeat(1 << 20) + &case.good.cert));
    certificate_is_half_written: "leaf" "malformed_pem", |case|
        case.publish_but("tls.crt", &case.good.cert[..case.good.cert.len() / 2]);
    key_is_half_written: "leaf" "malformed_pem", |case|
        case.publish_but("tls.key", &case.good.key[..case.good.key.len() / 2]);
    certificate_is_empty: "leaf" "malformed_pem", |case| case.publish_but("tls.crt", "");
    two_keys: "leaf" "malformed_pem", |case|
        case.publish_but("tls.key", &(case.good.key.clone() + &case.forge.leaf(SERVER).key));
    bundle_is_half_written: "trust" "malformed_pem", |case|
        case.publish_but("ca.crt", &case.forge.cert[..case.forge.cert.len() / 2]);
    certificate_is_something_else: "leaf" "malformed_certificate", |case|
        case.publish_but("tls.crt", "-----BEGIN CERTIFICATE-----\naG90Y2VydA==\n-----END CERTIFICATE-----\n");
    leaf_is_a_ca: "leaf" "malformed_certificate", |case|
        case.publish_leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    key_is_something_else: "leaf" "malformed_key", |case|
        case.publish_but("tls.key", "-----BEGIN PRIVATE KEY-----\naG90Y2VydA==\n-----END PRIVATE KEY-----\n");
    rsa_of_1024_bits: "leaf" "unsupported_key", |case| case.publish(&case.forge.weak_leaf(SERVER));
    key_of_another_leaf: "leaf" "key_mismatch", |case|
        case.publish_but("tls.key", &case.forge.leaf(SERVER).key);
    leaf_is_expired: "leaf" "expired", |case| case.publish_leaf(|params| params.not_after = from_now(-1));
    wrong_intermediate: "leaf" "chain_broken", |case| {
        let mut pair = case.forge.intermediate("the right one").leaf(SERVER);
        pair.cert += &case.forge.intermediate("the wrong one").cert;
        case.publish(&pair)
    };
    root_is_not_in_the_bundle: "leaf" "untrusted_by_own_bundle", |case|
        case.publish(&Forge::root("a stranger").leaf(SERVER));
    root_of_the_same_name_is_another: "leaf" "untrusted_by_own_bundle", |case|
        case.publish(&Forge::default().leaf(SERVER));
    no_names: "leaf" "name_missing", |case| case.publish_leaf(|params| params.subject_alt_names.clear());
    expected_name_is_missing: "leaf" "name_missing" with &["--expect-name", "dns:payments.shop.svc"], |case|
        case.publish(&case.forge.leaf("storefront"));
    usages_are_others: "leaf" "usage_missing", |case|
        case.publish_leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    usage_is_for_clients_only: "leaf" "usage_missing", |case|
        case.publish_leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    key_usage_is_for_issuing_only: "leaf" "usage_missing", |case|
        case.publish_leaf(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    bundle_is_empty: "trust" "empty_bundle", |case| case.publish_but("ca.crt", "");
    bundle_holds_ordinary_leaves_alone: "trust" "empty_bundle", |case|
        case.publish_but("ca.crt", &format!("{}{}", case.forge.leaf(SERVER).cert, case.good.cert));
    bundle_is_only_words: "trust" "malformed_pem", |case| case.publish_but("ca.crt", "# the roots come later\n");
}

#[test]
fn nothing_good_at_start_is_not_served() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    let (one, other) = (pki.leaf(SERVER), pki.leaf(SERVER));
    volume.publish(&Pair { key: other.key.clone(), ..one }, pki.roots());
    let agent = Launch::new(&volume.path).inbound("", echo.address).start();
    agent.wait_until("the refusal", |health| health["refused"]["leaf"]["reason"] == "key_mismatch");
    assert_eq!(agent.admin("/readyz").status, 503);
    assert_eq!(served(agent.address("inbound"), &pki.client("storefront")), None);
    volume.publish(&other, pki.roots());
    agent.wait_ready();
    assert_eq!(served(agent.address("inbound"), &pki.client("storefront")), Some(other.serial));
}

#[test]
fn a_leaf_of_the_future_is_held_until_its_time_comes() {
    let (pki, forge, echo) = (Pki::default(), Forge::default(), Echo::default());
    let volume = pki.volume(SERVER);
    let first = forge.leaf(SERVER);
    volume.publish(&first, &forge.cert);
    let client = pki.credentials("client", &forge.leaf("storefront"), &forge.cert);
    let agent = Launch::new(&volume.path).inbound("", echo.address).args(["--poll-interval", "1h"]).ready();
    let begin = from_now(3);
    let next = forge.leaf_with(SERVER, |params| params.not_before = begin);
    volume.publish(&next, &forge.cert);
    let health = agent.wait_until("the candidate held", |health| !health["held"].is_null());
    assert_eq!(kit::pki::serial(health["held"]["serial"].as_str().unwrap()), next.serial);
    assert_eq!(health["last_attempt"]["outcome"], "held");
    assert_eq!(health["last_attempt"]["reason"], "not_yet_valid");
    assert!(health["refused"]["leaf"].is_null());
    assert_eq!(served(agent.address("inbound"), &client), Some(first.serial));
    let labels = [("outcome", "held"), ("reason", "not_yet_valid")];
    assert_eq!(agent.metrics().one("hotcert_reloads_total", &labels), 1.0);
    let health = agent.wait_serving(&next.serial);
    // Certificates know whole seconds.
    assert!(SystemTime::now() >= SystemTime::from(begin) - Duration::from_secs(1));
    assert!(health["held"].is_null());
    assert_eq!(served(agent.address("inbound"), &client), Some(next.serial));
}

#[test]
fn a_leaf_that_expires_while_it_is_served_makes_the_pod_unready() {
    let (pki, forge, echo) = (Pki::default(), Forge::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&forge.leaf_with(SERVER, |params| params.not_after = from_now(3)), &forge.cert);
    let agent = Launch::new(&volume.path).inbound("", echo.address).args(["--poll-interval", "1h"]).ready();
    let readyz = until("unready", || Some(agent.admin("/readyz")).filter(|answer| answer.status == 503));
    assert!(readyz.text().contains("expired"), "{readyz:?}");
    let health = agent.health();
    assert!(health["ready"] == false && health["reason"].as_str().unwrap().contains("expired"), "{health:#}");
    assert_eq!(agent.metrics().one("hotcert_ready", &[]), 0.0);
    volume.publish(&forge.leaf(SERVER), &forge.cert);
    agent.wait_ready();
}
