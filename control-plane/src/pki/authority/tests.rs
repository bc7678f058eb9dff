#![allow(clippy::unwrap_used)]

use std::time::UNIX_EPOCH;

use rustls_pki_types::{ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SPIFFE_ID: &str = "spiffe://example.org/ns/shop/sa/payments";

/// With a fraction of a second, which no certificate may show.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_750)
}

fn authority() -> Authority {
    let request = AuthorityRequest {
        common_name: "shop root".to_owned(),
        lifetime: 10 * DAY,
        ..AuthorityRequest::default()
    };
    Authority::create(&request, now()).unwrap()
}

fn request() -> LeafRequest {
    LeafRequest {
        common_name: "payments".to_owned(),
        dns_names: vec!["payments.shop.svc".to_owned(), "*.payments.shop.svc".to_owned()],
        spiffe_id: Some(SPIFFE_ID.to_owned()),
        lifetime: DAY,
        ..LeafRequest::default()
    }
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

fn verify(leaf: &Leaf, root: &Authority, at: SystemTime, usage: KeyUsage) -> Result<(), webpki::Error> {
    let anchors = [anchor_from_trusted_cert(root.certificate_der()).unwrap()];
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    EndEntityCert::try_from(&leaf.certificate_der)
        .unwrap()
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], at, usage, None, None)
        .map(|_| ())
}

fn key_identifiers(certificate: &X509Certificate<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut subject, mut authority) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    (subject.unwrap(), authority.unwrap())
}

#[test]
fn every_algorithm_makes_leaves_that_peers_accept_under_every_root() {
    for algorithm in Algorithm::ALL {
        let root = Authority::create(
            &AuthorityRequest {
                common_name: "root".to_owned(),
                algorithm,
                lifetime: DAY,
                ..Default::default()
            },
            now(),
        )
        .unwrap();
        let leaf = root.issue(&LeafRequest { algorithm, ..request() }, now()).unwrap();
        verify(&leaf, &root, now(), KeyUsage::server_auth()).unwrap();
        verify(&leaf, &root, now(), KeyUsage::client_auth()).unwrap();
        let name = ServerName::try_from("payments.shop.svc").unwrap();
        let parsed = EndEntityCert::try_from(&leaf.certificate_der).unwrap();
        parsed.verify_is_valid_for_subject_name(&name).unwrap();

        let key = KeyPair::from_pem(&leaf.key_pem).unwrap();
        assert_eq!(parse(&leaf.certificate_der).public_key().subject_public_key.data, key.public_key_raw());
    }
}

#[test]
fn root_may_sign_leaves_and_nothing_else() {
    let root = authority();
    let certificate = parse(root.certificate_der());
    assert_eq!(certificate.version(), X509Version::V3);
    assert_eq!(certificate.subject().to_string(), "CN=shop root");
    assert_eq!(certificate.issuer(), certificate.subject());
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.to_string(), "Key Cert Sign, CRL Sign");
    let (subject, authority) = key_identifiers(&certificate);
    assert_eq!(subject, authority);
}

#[test]
fn leaf_carries_names_usages_and_its_root() {
    let root = authority();
    let leaf = root.issue(&request(), now()).unwrap();
    let certificate = parse(&leaf.certificate_der);
    assert_eq!(certificate.version(), X509Version::V3);
    assert_eq!(certificate.subject().to_string(), "CN=payments");
    assert_eq!(certificate.issuer().to_string(), "CN=shop root");
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(
        *names,
        [
            GeneralName::DNSName("payments.shop.svc"),
            GeneralName::DNSName("*.payments.shop.svc"),
            GeneralName::URI(SPIFFE_ID)
        ]
    );
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    assert_eq!(certificate.key_usage().unwrap().unwrap().value.to_string(), "Digital Signature");
    let (_, authority) = key_identifiers(&certificate);
    assert_eq!(authority, key_identifiers(&parse(root.certificate_der())).0);
}

#[test]
fn rsa_leaf_may_encipher_keys() {
    let rsa = LeafRequest { algorithm: Algorithm::Rsa2048, ..request() };
    let leaf = authority().issue(&rsa, now()).unwrap();
    let usage = parse(&leaf.certificate_der).key_usage().unwrap().unwrap().value.to_string();
    assert_eq!(usage, "Digital Signature, Key Encipherment");
}

#[test]
fn usage_limits_what_a_peer_accepts_the_leaf_for() {
    let root = authority();
    let of = |usage| root.issue(&LeafRequest { usage, ..request() }, now()).unwrap();
    let server = of(Usage::ServerOnly);
    let client = of(Usage::ClientOnly);
    verify(&server, &root, now(), KeyUsage::server_auth()).unwrap();
    verify(&client, &root, now(), KeyUsage::client_auth()).unwrap();
    for (leaf, usage) in [(server, KeyUsage::client_auth()), (client, KeyUsage::server_auth())] {
        let refused = verify(&leaf, &root, now(), usage);
        assert!(matches!(refused, Err(webpki::Error::RequiredEkuNotFoundContext(_))), "{refused:?}");
    }
}

#[test]
fn dates_are_whole_seconds_and_backdated() {
    let root = Authority::create(
        &AuthorityRequest {
            common_name: "root".to_owned(),
            lifetime: 10 * DAY,
            ..AuthorityRequest::default()
        },
        now() - DAY,
    )
    .unwrap();
    let leaf = root.issue(&request(), now()).unwrap();
    let second = now() - Duration::from_millis(750);
    assert_eq!(leaf.not_before, second - BACKDATE);
    assert_eq!(leaf.not_after, second + DAY);
    let validity = parse(&leaf.certificate_der).validity().clone();
    let unix = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert_eq!(validity.not_before.timestamp(), unix(leaf.not_before));
    assert_eq!(validity.not_after.timestamp(), unix(leaf.not_after));
}

#[test]
fn leaf_lies_within_the_dates_of_its_root() {
    let root = authority();
    let leaf = root.issue(&LeafRequest { lifetime: 365 * DAY, ..request() }, now()).unwrap();
    assert_eq!(leaf.not_after, root.not_after());
    verify(&leaf, &root, root.not_after(), KeyUsage::server_auth()).unwrap();

    let early = root.issue(&request(), now() - BACKDATE).unwrap();
    let root_starts = parse(root.certificate_der()).validity().not_before;
    assert_eq!(parse(&early.certificate_der).validity().not_before, root_starts);
}

#[test]
fn nothing_is_issued_outside_the_dates_of_the_root() {
    let root = authority();
    let expired = root.issue(&request(), root.not_after());
    assert!(matches!(expired, Err(AuthorityError::AuthorityExpired { .. })), "{expired:?}");
    let early = root.issue(&request(), now() - BACKDATE - Duration::from_secs(1));
    assert!(matches!(early, Err(AuthorityError::AuthorityNotYetValid { .. })), "{early:?}");
    root.issue(&request(), root.not_after() - Duration::from_secs(1)).unwrap();
}

#[test]
fn expired_leaf_is_expired_for_peers() {
    let root = authority();
    let leaf = root.issue(&request(), now()).unwrap();
    let refused = verify(&leaf, &root, leaf.not_after + DAY, KeyUsage::server_auth());
    assert!(matches!(refused, Err(webpki::Error::CertExpired { .. })), "{refused:?}");
}

#[test]
fn root_of_the_same_name_does_not_vouch_for_anothers_leaf() {
    let leaf = authority().issue(&request(), now()).unwrap();
    let refused = verify(&leaf, &authority(), now(), KeyUsage::server_auth());
    assert!(matches!(refused, Err(webpki::Error::InvalidSignatureForPublicKey)), "{refused:?}");
}

#[test]
fn serials_are_long_positive_distinct_and_printed_as_in_the_certificate() {
    let root = authority();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..64 {
        let leaf = root.issue(&request(), now()).unwrap();
        let certificate = parse(&leaf.certificate_der);
        assert_eq!(hex::encode(certificate.raw_serial()), leaf.serial);
        assert_eq!(leaf.serial.len(), 32);
        assert!(certificate.raw_serial()[0] < 0x80);
        assert!(seen.insert(leaf.serial));
    }
}

#[test]
fn pem_holds_the_same_certificate_and_a_private_key() {
    let root = authority();
    let leaf = root.issue(&request(), now()).unwrap();
    for (pem, der) in [
        (root.certificate_pem(), root.certificate_der()),
        (leaf.certificate_pem.as_str(), &leaf.certificate_der),
    ] {
        let (rest, parsed) = parse_x509_pem(pem.as_bytes()).unwrap();
        assert!(rest.is_empty());
        assert_eq!((parsed.label.as_str(), &parsed.contents[..]), ("CERTIFICATE", der.as_ref()));
    }
    assert!(leaf.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(leaf.key_pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn debug_shows_no_key() {
    let root = authority();
    let leaf = root.issue(&request(), now()).unwrap();
    let shown = format!("{root:?} {leaf:?}");
    assert!(shown.contains(&root.sha256()) && shown.contains(&leaf.serial));
    assert!(!shown.contains("PRIVATE") && !shown.contains("key"), "{shown}");
}

#[test]
fn fingerprint_is_sha256_of_the_der() {
    assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let root = authority();
    assert_eq!(root.sha256(), sha256_hex(root.certificate_der()));
}

#[test]
fn bad_common_names_are_refused() {
    let root = authority();
    for name in ["", "  ", "line\nbreak", &"x".repeat(65)] {
        let refused = root.issue(&LeafRequest { common_name: name.to_owned(), ..request() }, now());
        assert!(matches!(refused, Err(AuthorityError::Name(NameError::CommonName { .. }))), "{name:?}");
        let refused = Authority::create(
            &AuthorityRequest { common_name: name.to_owned(), ..AuthorityRequest::default() },
            now(),
        );
        assert!(matches!(refused, Err(AuthorityError::Name(NameError::CommonName { .. }))), "{name:?}");
    }
}

#[test]
fn leaf_without_any_name_is_refused() {
    let nameless = LeafRequest { dns_names: Vec::new(), spiffe_id: None, ..request() };
    let refused = authority().issue(&nameless, now());
    assert!(matches!(refused, Err(AuthorityError::Name(NameError::NoNames))), "{refused:?}");
}

#[test]
fn bad_dns_names_are_refused() {
    let root = authority();
    let long = format!("{}.svc", "x".repeat(64));
    for name in [
        "",
        ".",
        "*",
        "*.",
        "a.",
        "a..b",
        "-a.b",
        "a-.b",
        "a b",
        "a_b",
        "10.0.0.1",
        "::1",
        "http://a",
        "a.*.b",
        "**.b",
        "*a.b",
        "bücher.example",
        &long,
    ] {
        let bad = LeafRequest { dns_names: vec![name.to_owned()], ..request() };
        let refused = root.issue(&bad, now());
        assert!(
            matches!(refused, Err(AuthorityError::Name(NameError::DnsName { .. }))),
            "{name:?}: {refused:?}"
        );
    }
}

#[test]
fn bad_spiffe_ids_are_refused() {
    let root = authority();
    let long = format!("spiffe://a/{}", "x".repeat(2048));
    for id in [
        "",
        "payments",
        "https://a/b",
        "SPIFFE://a/b",
        "spiffe://",
        "spiffe://a",
        "spiffe://a/",
        "spiffe:///b",
        "spiffe://A/b",
        "spiffe://a:1/b",
        "spiffe://u@a/b",
        "spiffe://a/b/",
        "spiffe://a//b",
        "spiffe://a/../b",
        "spiffe://a/b?c",
        "spiffe://a/b#c",
        "spiffe://a/%62",
        "spiffe://a/ü",
        &long,
    ] {
        let bad = LeafRequest { spiffe_id: Some(id.to_owned()), ..request() };
        let refused = root.issue(&bad, now());
        assert!(
            matches!(refused, Err(AuthorityError::Name(NameError::SpiffeId { .. }))),
            "{id:?}: {refused:?}"
        );
    }
}

#[test]
fn impossible_dates_are_refused() {
    let root = authority();
    let of = |lifetime| root.issue(&LeafRequest { lifetime, ..request() }, now());
    let short = of(Duration::from_millis(999));
    assert!(matches!(short, Err(AuthorityError::LifetimeTooShort)), "{short:?}");
    for lifetime in [Duration::MAX, 9000 * 366 * DAY] {
        let long = of(lifetime);
        assert!(matches!(long, Err(AuthorityError::DateOutOfRange)), "{long:?}");
    }
    let before_1970 = root.issue(&request(), UNIX_EPOCH - DAY);
    assert!(matches!(before_1970, Err(AuthorityError::DateOutOfRange)), "{before_1970:?}");
}

#[test]
fn import_takes_what_agents_take_and_calls_other_formats_by_their_names() {
    let root = authority();
    let (certificate, key) = (root.certificate_pem(), root.key_pem());
    for (certificate, key) in [
        (format!("\u{feff}{certificate}"), key.to_string()),
        (certificate.replace('\n', "\r\n"), format!("\u{feff}{}", *key)),
        (format!("subject=CN = root\n{certificate}"), format!("{certificate}{}", *key)),
    ] {
        let imported = Authority::import(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(imported.certificate_pem(), root.certificate_pem());
    }
    let wide: Vec<u8> = certificate.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (certificate, key, wanted) in [
        (wide.as_slice(), key.as_bytes(), "its certificate is text in UTF-16: convert it with: iconv"),
        (b"hello", key.as_bytes(), "its certificate: there is text in it but no PEM section"),
        (certificate.as_bytes(), encrypted.as_bytes(), "its key holds a private key that is encrypted"),
        (certificate.as_bytes(), b"", "its key: it holds no private key"),
    ] {
        let error = Authority::import(certificate, key).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

fn constrained() -> Authority {
    let request = AuthorityRequest {
        common_name: "shop root".to_owned(),
        lifetime: 10 * DAY,
        permitted_dns_domains: vec!["shop.svc".to_owned(), "example.org".to_owned()],
        ..AuthorityRequest::default()
    };
    Authority::create(&request, now()).unwrap()
}

#[test]
fn a_root_with_name_constraints_issues_what_peers_accept_and_nothing_else() {
    let made = constrained();
    let parsed = parse(made.certificate_der());
    let extension = parsed.name_constraints().unwrap().unwrap();
    assert!(extension.critical && extension.value.excluded_subtrees.is_none());
    // Read again from its PEM it is the same, as it is after every restart.
    let read = Authority::import(made.certificate_pem().as_bytes(), made.key_pem().as_bytes()).unwrap();
    for root in [&made, &read] {
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            verify(&root.issue(&request(), now()).unwrap(), root, now(), usage).unwrap();
        }
        for outside in ["payments.bank.svc", "*.svc", "payments.shop.svc.cluster.local"] {
            let dns_names = vec!["payments.shop.svc".to_owned(), outside.to_owned()];
            let refused = root.issue(&LeafRequest { dns_names, ..request() }, now());
            let error = refused.unwrap_err();
            assert!(
                matches!(&error, AuthorityError::NotPermitted { name, .. } if name == outside),
                "{error}"
            );
            assert!(error.to_string().contains("permit only shop.svc, example.org"), "{error}");
        }
    }
    let nameless = LeafRequest { dns_names: Vec::new(), ..request() };
    verify(&made.issue(&nameless, now()).unwrap(), &made, now(), KeyUsage::client_auth()).unwrap();
}

/// What would be signed without the check before.
#[test]
fn peers_refuse_a_name_that_a_root_does_not_permit() {
    let unaware = Authority { permitted: PermittedNames::default(), ..constrained() };
    let leaf = unaware.issue(&LeafRequest { dns_names: vec!["a.bank.svc".to_owned()], ..request() }, now());
    let refused = verify(&leaf.unwrap(), &unaware, now(), KeyUsage::server_auth());
    assert_eq!(refused, Err(webpki::Error::NameConstraintViolation));
}
