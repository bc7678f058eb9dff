//! What the inventory keeps, and what it refuses.

use super::*;

fn open(state: &Path) -> Inventory {
    let name = |name: &str| format!("{name}.shop.svc");
    let secrets = [
        ("payments", Kind::Imported),
        ("orders", Kind::Issued(name("orders"))),
        ("signed", Kind::ManagedCsr(name("signed"))),
    ];
    let secrets = secrets.map(|(id, kind)| (id.to_owned(), kind));
    Inventory::open(state, "crn:v1:x::", secrets.into(), YEAR).unwrap()
}

#[test]
fn state_survives_and_unfinished_files_are_removed() {
    let home = tempfile::tempdir().unwrap();
    let first = open(home.path());
    first.issue("orders").unwrap();
    first.update_delivery("orders", |delivery| delivery.requested_expiry = Some(2)).unwrap();
    fs::create_dir(first.staging().join("killed")).unwrap();
    fs::write(first.staging().join("killed/tls.key"), "a key").unwrap();

    let again = open(home.path());
    assert_eq!((first.root(), first.public_key()), (again.root(), again.public_key()));
    assert_eq!(again.numbers("orders").unwrap(), [1, 2]);
    assert_eq!(
        again.delivery("orders").unwrap(),
        DeliveryState { requested_expiry: Some(2), ..DeliveryState::default() }
    );
    assert_eq!(fs::read_dir(again.staging()).unwrap().count(), 0);
}

#[test]
fn unusable_versions_are_rejected() {
    let home = tempfile::tempdir().unwrap();
    let inventory = open(home.path());
    let (one, other) = (inventory.issue("orders").unwrap(), inventory.issue("orders").unwrap());
    for (certificate, key, why) in [
        (one.certificate.as_str(), other.key.as_str(), "does not match"),
        ("", one.key.as_str(), "does not match"),
        (one.certificate.as_str(), "", "cannot parse the key"),
    ] {
        let rejected = inventory.push("payments", certificate, Some(key)).map(drop).unwrap_err();
        assert!(rejected.to_string().contains(why), "{rejected:#}");
    }
    let request = LeafRequest {
        common_name: "payments".into(),
        dns_names: vec!["payments.shop.svc".into()],
        lifetime: Duration::from_secs(3600),
        ..LeafRequest::default()
    };
    let past = SystemTime::now() - Duration::from_secs(7200);
    let root = AuthorityRequest {
        common_name: "another".into(),
        lifetime: 10 * YEAR,
        ..AuthorityRequest::default()
    };
    let old = Authority::create(&root, past).unwrap().issue(&request, past).unwrap();
    let rejected =
        inventory.push("payments", &old.certificate_pem, Some(&old.key_pem)).map(drop).unwrap_err();
    assert!(rejected.to_string().contains("expired at"), "{rejected:#}");
    assert!(inventory.numbers("payments").unwrap().is_empty());
    assert_eq!(inventory.push("payments", &one.certificate, Some(&one.key)).unwrap().number, 1);
}

#[test]
fn a_secret_takes_what_its_kind_allows() {
    let home = tempfile::tempdir().unwrap();
    let inventory = open(home.path());
    let one = inventory.issue("orders").unwrap();
    let refused = |id: &str, certificate: &str, key: Option<&str>| {
        inventory.push(id, certificate, key).map(drop).unwrap_err().to_string()
    };
    assert!(refused("orders", &one.certificate, Some(&one.key)).contains("by rotation"));
    assert!(refused("payments", &one.certificate, None).contains("missing"));
    assert!(refused("signed", &one.certificate, Some(&one.key)).contains("not accepted"));
    assert!(refused("signed", &one.certificate, None).contains("does not match"));

    let (csr, key) = inventory.managed_csr("signed").unwrap().unwrap();
    assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{csr}");
    let params = CertificateParams::new(vec!["signed.shop.svc".to_owned()]).unwrap();
    let certificate = params.self_signed(&KeyPair::from_pem(&key).unwrap()).unwrap().pem();
    assert_eq!(inventory.push("signed", &certificate, None).unwrap().key, key);
    let again = open(home.path());
    assert_eq!(again.managed_csr("signed").unwrap(), Some((csr, key)));
}
