//! Who is who: names, roots, leaves, and the volumes that the agents read.

use std::time::{Duration, Instant, SystemTime};

use hotcert::authority::{Authority, AuthorityError, AuthorityRequest, Leaf, LeafRequest};
use hotcert::volume::{SecretVolume, VolumeError};

use crate::fleet::{Fleet, Workplace};
use crate::outside::Front;
use crate::story::StoryError;

pub const STOREFRONT: &str = "storefront";
pub const PAYMENTS: &str = "payments";
pub const OUTSIDE: &str = "outside";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A service's current leaf and where it is published.
pub struct Identity {
    pub service: &'static str,
    pub volume: SecretVolume,
    pub leaf: Leaf,
}

impl Identity {
    pub fn new(
        service: &'static str,
        authority: &Authority,
        workplace: &Workplace,
    ) -> Result<Self, StoryError> {
        let leaf = issue(authority, service)?;
        let volume = SecretVolume::open(workplace.identity(service))?;
        Ok(Self { service, volume, leaf })
    }

    /// Returns the instant of the rename.
    pub fn publish(&self, roots: &[&Authority]) -> Result<Instant, VolumeError> {
        let bundle: String = roots.iter().map(|root| root.certificate_pem()).collect();
        self.volume.publish(&[
            ("tls.crt", self.leaf.certificate_pem.as_bytes()),
            ("tls.key", self.leaf.key_pem.as_bytes()),
            ("ca.crt", bundle.as_bytes()),
        ])
    }
}

pub fn spiffe_id(service: &str) -> String {
    format!("spiffe://demo.hotcert.dev/ns/shop/sa/{service}")
}

fn dns_name(service: &str) -> String {
    format!("{service}.shop.svc")
}

pub fn front(fleet: &Fleet, service: &str) -> Front {
    Front { address: fleet.inbound(service), name: dns_name(service) }
}

pub fn leaf_request(service: &str) -> LeafRequest {
    LeafRequest {
        common_name: service.to_owned(),
        dns_names: vec![dns_name(service)],
        spiffe_id: Some(spiffe_id(service)),
        lifetime: DAY,
        ..LeafRequest::default()
    }
}

pub fn issue(authority: &Authority, service: &str) -> Result<Leaf, AuthorityError> {
    authority.issue(&leaf_request(service), SystemTime::now())
}

/// A root that is a day old, so that there can be leaves that have expired.
pub fn authority(name: &str) -> Result<Authority, AuthorityError> {
    let request = AuthorityRequest {
        common_name: format!("demo {name} root"),
        lifetime: 10 * DAY,
        ..AuthorityRequest::default()
    };
    Authority::create(&request, SystemTime::now() - DAY)
}
