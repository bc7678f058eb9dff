//! Who is who: the names of the services and the client outside, and what the control plane calls them.

use std::time::Duration;

use hotcert::api::leaf_request::LeafRequest;
use hotcert::planner::observed::ObjectName;

use crate::fleet::Fleet;
use crate::outside::Front;

pub const STOREFRONT: &str = "storefront";
pub const PAYMENTS: &str = "payments";
pub const OUTSIDE: &str = "outside";
pub const EVERYBODY: [&str; 3] = [STOREFRONT, PAYMENTS, OUTSIDE];

pub const AUTHORITY: &str = "root-demo-shop";
pub const NAMESPACE: &str = "shop";
pub const TRUST_DOMAIN: &str = "demo.hotcert.dev";

/// The ServiceCertificate of one of them. Names and Secret follow from what it is called.
pub fn certificate(who: &str) -> ObjectName {
    let kind = if who == OUTSIDE { "client" } else { "mtls" };
    ObjectName::new(NAMESPACE, format!("{kind}-demo-{who}"))
}

pub fn secret(who: &str) -> String {
    format!("{who}-tls")
}

pub fn spiffe_id(who: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{who}")
}

pub fn front(fleet: &Fleet, service: &str) -> Front {
    Front { address: fleet.inbound(service), name: dns_name(service) }
}

/// For a leaf with the names of this service.
pub fn leaf_request(service: &str, lifetime: Duration) -> LeafRequest {
    LeafRequest {
        common_name: service.to_owned(),
        dns_names: vec![dns_name(service)],
        spiffe_id: Some(spiffe_id(service)),
        lifetime,
        ..LeafRequest::default()
    }
}

fn dns_name(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc")
}
