//! Files as tools and people leave them.

use super::*;

/// A leaf under an intermediate under a root.
fn chain() -> (Root, String, Issued) {
    let root = root("root");
    let mid = CertifiedIssuer::signed_by(ca_params("mid"), KeyPair::generate().unwrap(), &root).unwrap();
    let leaf = issue(&mid, |_| {});
    (root, mid.pem(), leaf)
}

fn reason(certificate: impl AsRef<[u8]>, key: &str, bundle: impl AsRef<[u8]>) -> (String, String) {
    let mut candidate = credential("", key, "");
    candidate.leaf = LeafParts::Pair { certificate: bytes(certificate.as_ref()), key: part(key) };
    candidate.trust = bytes(bundle.as_ref());
    let validation = validate(&candidate);
    let trust = validation.trust.as_ref().err().map_or("accepted", |rejection| rejection.reason().as_str());
    (leaf_reason(&validation).into(), trust.into())
}

fn bytes(bytes: &[u8]) -> crate::credential::Part {
    Ok(Zeroizing::new(bytes.to_vec()))
}

#[test]
fn byte_order_marks_and_glued_sections_lose_no_root() {
    let (a, b) = (root("a"), root("b"));
    let leaf = issue(&b, |_| {});
    let (one, two) = (a.pem(), b.pem());
    for bundle in [
        format!("\u{feff}{one}\u{feff}{two}"),
        format!("{}{two}", one.trim_end()),
        format!("{one}{two}").replace('\n', "\r\n"),
        format!("{one}{two}").replace("CERTIFICATE", "X509 CERTIFICATE"),
        format!("{one}{two}").replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        format!("Bag Attributes\n    friendlyName: a\nsubject=CN = a\n{one}\n\n{two}"),
    ] {
        let validation = validate(&credential(&leaf.certificate, &leaf.key, &bundle));
        assert_eq!(leaf_reason(&validation), "accepted", "{bundle}");
        assert_eq!(validation.trust.unwrap().unwrap().roots.len(), 2, "{bundle}");
    }
}

#[test]
fn a_root_that_would_be_overlooked_refuses_the_bundle() {
    let (a, b) = (root("a"), root("b"));
    let leaf = issue(&a, |_| {});
    for begin in ["root b: -----BEGIN", "\u{200b}-----BEGIN", "----BEGIN", "-----Begin"] {
        let bundle = format!("{}{}", a.pem(), b.pem().replace("-----BEGIN", begin));
        let (_, trust) = reason(&leaf.certificate, &leaf.key, bundle);
        assert_eq!(trust, "malformed_pem", "{begin}");
    }
}

#[test]
fn the_key_may_stand_in_both_files() {
    let root = root("root");
    let (leaf, other) = (issue(&root, |_| {}), issue(&root, |_| {}));
    let both = format!("{}{}", leaf.key, leaf.certificate);
    assert_eq!(reason(&both, &leaf.key, root.pem()).0, "accepted");
    assert_eq!(reason(&both, &both, root.pem()).0, "accepted", "the same file under both names");
    assert_eq!(reason(&leaf.certificate, &leaf.key.repeat(2), root.pem()).0, "accepted", "twice the same");
    let detail = |certificate: &str, key: &str| {
        validate(&credential(certificate, key, &root.pem())).leaf.unwrap_err().to_string()
    };
    let strange = format!("{}{}", other.key, leaf.certificate);
    let said = detail(&strange, &leaf.key);
    assert!(
        said.starts_with("the certificate file: it holds another private key than the key file"),
        "{said}"
    );
    let said = detail(&leaf.certificate, &format!("{}{}", leaf.key, other.key));
    assert!(said.starts_with("the key file: it holds different private keys"), "{said}");
    let said = detail(&leaf.certificate, &leaf.certificate);
    assert!(said.starts_with("the key file: it holds no private key"), "{said}");
    let said = detail(&leaf.key, &leaf.key);
    assert!(said.starts_with("the certificate file: it holds no certificate"), "{said}");
}

#[test]
fn a_key_is_taken_by_what_it_is_and_not_by_what_it_is_called() {
    let root = root("root");
    let leaf = issue(&root, |_| {});
    for label in ["EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let key = leaf.key.replace("PRIVATE KEY", label);
        assert_eq!(reason(&leaf.certificate, &key, root.pem()).0, "accepted", "{label}");
    }
}

#[test]
fn a_chain_in_any_order_is_served_from_the_leaf_upwards_without_duplicates() {
    let root = root("root");
    let upper = CertifiedIssuer::signed_by(ca_params("upper"), KeyPair::generate().unwrap(), &root).unwrap();
    let lower = CertifiedIssuer::signed_by(ca_params("lower"), KeyPair::generate().unwrap(), &upper).unwrap();
    let (leaf, other) = (issue(&lower, |_| {}), issue(&lower, |_| {}));
    let (leaf_pem, key) = (leaf.certificate.as_str(), leaf.key.as_str());
    let (low, up) = (lower.pem(), upper.pem());
    for parts in [
        &[leaf_pem, &low, &up][..],
        &[leaf_pem, &up, &low],
        &[&up, &low, leaf_pem],
        &[&low, leaf_pem, &up],
        &[leaf_pem, leaf_pem, &low, &up, &low],
        &[&root.pem(), &up, leaf_pem, &low],
        &[&other.certificate, leaf_pem, &up, &low],
    ] {
        let validation = validate(&credential(&parts.concat(), key, &root.pem()));
        let served = &validation.leaf.as_ref().unwrap().certified.cert;
        let wanted = format!("{leaf_pem}{low}{up}");
        let wanted = crate::credential::pem::sections(wanted.as_bytes()).unwrap();
        for (served, wanted) in served.iter().zip(&wanted) {
            assert_eq!(served.as_ref(), wanted.der.as_slice());
        }
        let mut distinct = parts.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(served.len(), distinct.len());
    }
}

/// What is wrong with the key is all that is wrong.
#[test]
fn without_its_key_the_leaf_is_the_first_that_is_no_authoritys() {
    let (root, mid, leaf) = chain();
    let behind = format!("{mid}{}", leaf.certificate);
    let encrypted = leaf.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let another = issue(&root, |_| {}).key;
    for (key, reason) in [(encrypted, "encrypted_key"), (another, "key_mismatch")] {
        let faults = validate(&credential(&behind, &key, &root.pem())).faults;
        let reasons: Vec<_> = faults.iter().map(|fault| fault.rejection.reason().as_str()).collect();
        assert_eq!(reasons, [reason]);
    }
}

#[test]
fn other_formats_are_refused_by_name_with_a_command() {
    let root = root("root");
    let leaf = issue(&root, |_| {});
    let der = crate::credential::pem::sections(leaf.certificate.as_bytes()).unwrap()[0].der.to_vec();
    let pkcs7 = leaf.certificate.replace("CERTIFICATE", "PKCS7");
    // What stands under the label of a certificate and is a key, or was put into PEM twice.
    let key = leaf.key.replace("PRIVATE KEY", "CERTIFICATE");
    for certificate in [der, pkcs7.into_bytes(), key.into_bytes()] {
        assert_eq!(reason(certificate, &leaf.key, root.pem()).0, "wrong_format");
    }
    let openssh = leaf.key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    assert_eq!(reason(&leaf.certificate, &openssh, root.pem()).0, "wrong_format");
    let dsa = leaf.key.replace("PRIVATE KEY", "DSA PRIVATE KEY");
    assert_eq!(reason(&leaf.certificate, &dsa, root.pem()).0, "unsupported_key");
    let both =
        format!("{}{}", leaf.certificate, leaf.certificate.replace("CERTIFICATE", "CERTIFICATE REQUEST"));
    assert_eq!(reason(both, &leaf.key, root.pem()).0, "accepted", "a request beside its certificate");
    let utf16: Vec<u8> = root.pem().encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(reason(&leaf.certificate, &leaf.key, utf16).1, "wrong_format");
    let request = leaf.certificate.replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let validation = validate(&credential(&request, &leaf.key, &root.pem()));
    assert!(validation.leaf.unwrap_err().to_string().contains("certificate request"));
    for encrypted in [
        leaf.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        leaf.key.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1),
    ] {
        assert_eq!(reason(&leaf.certificate, &encrypted, root.pem()).0, "encrypted_key");
        let in_front = format!("{encrypted}{}", leaf.certificate);
        let refused = validate(&credential(&in_front, &leaf.key, &root.pem())).leaf.unwrap_err().to_string();
        assert!(
            refused.starts_with("the certificate file holds a private key that is encrypted"),
            "{refused}"
        );
        // What whoever keeps roots puts beside them does not keep a removal from coming into force.
        let bundle = format!("{encrypted}{}", root.pem());
        let validation = validate(&credential(&leaf.certificate, &leaf.key, &bundle));
        let [notice] = validation.trust.as_ref().unwrap().as_ref().unwrap().passed_over.as_slice() else {
            panic!("one notice")
        };
        assert!(notice.contains("holds a private key"), "{notice}");
    }
    let unknown = format!("{}{}", leaf.certificate, root.pem().replace("CERTIFICATE", "ROOT"));
    assert_eq!(reason(unknown, &leaf.key, root.pem()).0, "malformed_pem");
}

#[test]
fn bundles_are_limited_by_size_alone() {
    let (own, leaf) = {
        let root = root("own");
        let leaf = issue(&root, |_| {});
        (root, leaf)
    };
    let bundle: String = (0..300).map(|n| root(&format!("root {n}")).pem()).chain([own.pem()]).collect();
    let validation = validate(&credential(&leaf.certificate, &leaf.key, &bundle));
    assert_eq!(leaf_reason(&validation), "accepted");
    assert_eq!(validation.trust.unwrap().unwrap().roots.len(), 301);
}

#[test]
fn a_certificate_that_is_no_root_does_not_keep_the_roots_beside_it() {
    let (old, new) = (root("old"), root("new"));
    let leaf = issue(&new, |_| {});
    let before = validate(&credential(&leaf.certificate, &leaf.key, &format!("{}{}", old.pem(), new.pem())));
    let before = before.trust.unwrap().unwrap();
    let bundle = format!("{}{}", leaf.certificate, new.pem());
    let validation = validate(&credential(&leaf.certificate, &leaf.key, &bundle));
    let after = validation.trust.unwrap().unwrap();
    assert!(after.lost_a_root_of(&before), "the removal is in force");
    let [notice] = after.passed_over.as_slice() else { panic!("one notice") };
    assert!(notice.contains("certificate 1 of the trust bundle"), "{notice}");
    let (_, trust) = reason(&leaf.certificate, &leaf.key, &leaf.certificate);
    assert_eq!(trust, "empty_bundle", "no root is left");
}

/// What has to be done first comes first, and nothing is said twice.
#[test]
fn all_that_is_wrong_is_found_at_once() {
    let (ours, other) = (root("ours"), root("other"));
    let stale = issue(&other, |params| {
        params.not_after = (now() - Duration::from_secs(1)).into();
        params.subject_alt_names.clear();
    });
    let reasons = |candidate: &Credential| {
        let faults = validate(candidate).faults;
        faults
            .iter()
            .map(|fault| (fault.part.as_str(), fault.rejection.reason().as_str()))
            .collect::<Vec<_>>()
    };
    let another = issue(&ours, |_| {});
    assert_eq!(
        reasons(&credential(&stale.certificate, &another.key, &ours.pem())),
        [
            ("leaf", "key_mismatch"),
            ("leaf", "expired"),
            ("leaf", "name_missing"),
            ("leaf", "untrusted_by_own_bundle")
        ]
    );
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        reasons(&credential("hello", "hello", &format!("{garbage}{}{garbage}", ours.pem()))),
        [
            ("trust", "malformed_certificate"),
            ("trust", "malformed_certificate"),
            ("leaf", "malformed_pem"),
            ("leaf", "malformed_pem")
        ]
    );
    let mut unlisted = credential(&stale.certificate, &stale.key, &ours.pem());
    unlisted.revocation = part("hello");
    assert_eq!(
        reasons(&unlisted),
        [
            ("trust", "malformed_pem"),
            ("leaf", "expired"),
            ("leaf", "name_missing"),
            ("leaf", "untrusted_by_own_bundle")
        ]
    );
    let good = issue(&ours, |_| {});
    assert_eq!(reasons(&credential(&good.certificate, &good.key, &ours.pem())), []);
}

#[test]
fn an_intermediate_in_the_bundle_needs_its_root_for_openssl_alone() {
    let (root, mid, leaf) = chain();
    let notices = |bundle: String| {
        let validation = validate(&credential(&leaf.certificate, &leaf.key, &bundle));
        assert_eq!(leaf_reason(&validation), "accepted");
        validation.trust.unwrap().unwrap().passed_over.clone()
    };
    let [notice] = notices(mid.clone()).try_into().unwrap();
    assert!(
        notice.contains("(CN=mid) is an intermediate whose root CN=root is not in the bundle"),
        "{notice}"
    );
    assert!(notices(format!("{mid}{}", root.pem())).is_empty());
}
