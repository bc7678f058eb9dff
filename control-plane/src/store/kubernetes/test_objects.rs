//! What the tests beside this store put into it.

use std::time::{Duration, SystemTime};

use crate::api::leaf_request::LeafRequest;
use crate::api::object_name::ObjectName;
use crate::pki::authority::{Authority, AuthorityRequest};
use crate::pki::keyring::RootId;
use crate::store::{Contents, LeafPem, StoredVersion};

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn root() -> Authority {
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: 365 * DAY, ..AuthorityRequest::default() };
    Authority::create(&request, SystemTime::now()).unwrap()
}

pub fn name() -> ObjectName {
    ObjectName::new("shop", "mtls-prod-payments")
}

pub fn kept() -> (ObjectName, RootId, StoredVersion) {
    let (root, now) = (root(), SystemTime::UNIX_EPOCH + 20_000 * DAY);
    let request = LeafRequest {
        common_name: "payments".into(),
        dns_names: vec!["payments.shop.svc".into()],
        lifetime: DAY,
        ..LeafRequest::default()
    };
    let leaf = root.issue(&request, SystemTime::now()).unwrap();
    let id = RootId::of(&root);
    let kept = StoredVersion {
        certificate: leaf.certificate_pem,
        key: leaf.key_pem,
        root: id.clone(),
        bundle: Some(root.certificate_pem().to_owned()),
        made_for: "0123456789abcdef".into(),
        created_at: now,
        request: Some("r1".into()),
        copy_of: Some(3),
    };
    (name(), id, kept)
}

pub fn contents(kept: &StoredVersion, roots: &[&Authority]) -> Contents {
    Contents {
        leaf: Some(LeafPem { certificate: kept.certificate.clone(), key: kept.key.clone() }),
        bundle: roots.iter().map(|root| root.certificate_pem()).collect(),
        revision: 5,
        version: 2,
        written_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
    }
}
