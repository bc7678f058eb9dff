//! Each rule beyond webpki's, for one's own chain and for those of peers.

use rcgen::CustomExtension;

use super::*;

const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
/// Permitted: the DNS name `x`, and what a constraint allows that begins with a dot.
const ONLY_X: &[u8] = b"\x30\x07\xa0\x05\x30\x03\x82\x01x";
const ONLY_BELOW_SVC: &[u8] = b"\x30\x0a\xa0\x08\x30\x06\x82\x04.svc";

/// What is done to a certificate before it is issued.
type Change = fn(&mut CertificateParams);

fn add(params: &mut CertificateParams, oid: &[u64], critical: bool, value: &[u8]) {
    let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
    extension.set_criticality(critical);
    params.custom_extensions.push(extension);
}

/// As the fixtures have it.
fn name_of_root() -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, "rcgen self signed cert");
    name.push(DnType::CommonName, "root");
    name
}

async fn assert_refused(what: &str, case: Case, reason: RejectionReason) {
    assert_eq!(case.own(), Err(reason), "{what}");
    assert_eq!(case.as_server_and_client().await, (false, false), "{what}");
}

#[tokio::test]
async fn what_some_peer_refuses_of_an_intermediate_is_refused() {
    let table: [(&str, Change); 10] = [
        ("empty constraints", |mid| add(mid, NAME_CONSTRAINTS, false, &[0x30, 0])),
        ("constraints that begin with a dot", |mid| add(mid, NAME_CONSTRAINTS, true, ONLY_BELOW_SVC)),
        ("the key identifier of another issuer", |mid| {
            add(mid, &[2, 5, 29, 35], false, b"\x30\x03\x80\x01x")
        }),
        ("a proxy certificate", |mid| {
            add(
                mid,
                &[1, 3, 6, 1, 5, 5, 7, 1, 14],
                false,
                b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01",
            )
        }),
        ("constraints on policies", |mid| add(mid, &[2, 5, 29, 36], false, b"\x30\x03\x80\x01\x00")),
        ("a point of lists that is nowhere", |mid| add(mid, &[2, 5, 29, 31], false, b"\x30\x02\x30\x00")),
        ("a key identifier that cannot be read", |mid| add(mid, &[2, 5, 29, 35], false, b"?")),
        ("a key identifier with another tag", |mid| add(mid, &[2, 5, 29, 35], false, b"\x30\x03\x90\x01x")),
        ("a policy mapping that is none", |mid| {
            add(mid, &[2, 5, 29, 33], false, b"\x30\x0a\x30\x08\x06\x02\x2a\x03\x05\x02\x2a\x03")
        }),
        ("an access location with another tag", |mid| {
            let location = b"\x30\x0f\x19\x0d\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x01a";
            add(mid, &[1, 3, 6, 1, 5, 5, 7, 1, 1], false, location)
        }),
    ];
    for (what, change) in table {
        assert_refused(what, case(|_| {}, change), RejectionReason::IssuerNotAllowed).await;
    }
    let unread = case(|_| {}, |mid| add(mid, &[2, 5, 29, 31], false, b"\x30\x01"));
    assert_refused("points of lists that cannot be read", unread, RejectionReason::MalformedCertificate)
        .await;
}

#[tokio::test]
async fn what_some_peer_refuses_of_a_leaf_is_refused() {
    let table: [(&str, RejectionReason, Change); 3] = [
        ("constraints", RejectionReason::IssuerNotAllowed, |leaf| add(leaf, NAME_CONSTRAINTS, false, ONLY_X)),
        ("a key usage without signatures", RejectionReason::UsageMissing, |leaf| {
            leaf.key_usages = vec![KeyUsagePurpose::DataEncipherment];
        }),
        ("an S/MIME certificate of Netscape's", RejectionReason::UsageMissing, |leaf| {
            add(leaf, &[2, 16, 840, 1, 113_730, 1, 1], false, b"\x03\x02\x05\x20");
        }),
    ];
    for (what, reason, change) in table {
        let root = fixtures::root("root");
        let pair = fixtures::issue(&root, change);
        assert_refused(what, Case { root, pair }, reason).await;
    }
}

#[tokio::test]
async fn a_certificate_that_passes_for_self_signed_is_refused() {
    let of_itself = |names_issuer| {
        case(
            |_| {},
            move |mid| {
                mid.distinguished_name = name_of_root();
                mid.use_authority_key_identifier_extension = names_issuer;
            },
        )
    };
    assert_refused("without key identifier", of_itself(false), RejectionReason::IssuerNotAllowed).await;
    assert_eq!(of_itself(true).own(), Ok(()));
}

#[test]
fn a_root_that_peers_do_not_understand_is_no_root() {
    for (what, change) in [
        ("an unknown critical extension", (|root| add(root, &[1, 2, 3, 4], true, &[5, 0])) as Change),
        ("empty constraints", |root| add(root, NAME_CONSTRAINTS, true, &[0x30, 0])),
        ("a critical key identifier", |root| add(root, &[2, 5, 29, 35], true, b"\x30\x03\x80\x01x")),
        ("a key identifier with another tag", |root| add(root, &[2, 5, 29, 35], false, b"\x30\x03\x90\x01x")),
    ] {
        let case = case(change, |_| {});
        let credential = fixtures::credential(&case.pair, &[&case.root]);
        let validation = Identity::parse(&credential, &Policy::default(), None, SystemTime::now());
        assert_eq!(validation.trust.unwrap_err().reason(), RejectionReason::EmptyBundle, "{what}");
    }
    let known = case(|root| add(root, &[2, 5, 29, 54], true, &[2, 1, 0]), |_| {});
    assert_eq!(known.own(), Ok(()));
}
