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
    let strange = format!("{}{}", other.key, leaf.certificate);
    assert_eq!(reason(&strange, &leaf.key, root.pem()).0, "malformed_pem");
}

#[test]
fn a_chain_in_any_order_is_served_from_the_leaf_upwards() {
    let (root, mid, leaf) = chain();
    for certificate in [
        format!("{}{mid}", leaf.certificate),
        format!("{mid}{}", leaf.certificate),
        format!("{}{mid}{}", root.pem(), leaf.certificate),
    ] {
        let validation = validate(&credential(&certificate, &leaf.key, &root.pem()));
        let served = &validation.leaf.as_ref().unwrap().certified.cert;
        let wanted =
            crate::credential::pem::sections(format!("{}{mid}", leaf.certificate).as_bytes()).unwrap();
        for (served, wanted) in served.iter().zip(&wanted) {
            assert_eq!(served.as_ref(), wanted.der.as_slice());
        }
    }
}

#[test]
fn other_formats_are_refused_by_name_with_a_command() {
    let root = root("root");
    let leaf = issue(&root, |_| {});
    let der = crate::credential::pem::sections(leaf.certificate.as_bytes()).unwrap()[0].der.to_vec();
    let pkcs7 = leaf.certificate.replace("CERTIFICATE", "PKCS7");
    for certificate in [der, pkcs7.into_bytes()] {
        assert_eq!(reason(certificate, &leaf.key, root.pem()).0, "wrong_format");
    }
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
