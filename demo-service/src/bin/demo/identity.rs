//! The names of the two services and of the load client, and of their objects in the control plane.

use std::time::Duration;

use hotcert::api::leaf_request::LeafRequest;
use hotcert::api::object_name::ObjectName;

pub const STOREFRONT: &str = "storefront";
pub const PAYMENTS: &str = "payments";
pub const CLIENT: &str = "loadgen";
pub const IDENTITIES: [&str; 3] = [STOREFRONT, PAYMENTS, CLIENT];

pub const AUTHORITY: &str = "root-demo-shop";
pub const NAMESPACE: &str = "shop";
pub const TRUST_DOMAIN: &str = "demo.hotcert.dev";

/// The ServiceCertificate of a service or the client. The leaf's names and the Secret follow from its name.
pub fn certificate(name: &str) -> ObjectName {
    let kind = if name == CLIENT { "client" } else { "mtls" };
    ObjectName::new(NAMESPACE, format!("{kind}-demo-{name}"))
}

pub fn secret(name: &str) -> String {
    format!("{name}-tls")
}

pub fn spiffe_id(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{name}")
}

/// A request for a leaf with the names of this service.
pub fn leaf_request(service: &str, lifetime: Duration) -> LeafRequest {
    LeafRequest {
        common_name: service.to_owned(),
        dns_names: vec![dns_name(service)],
        spiffe_id: Some(spiffe_id(service)),
        lifetime,
        ..LeafRequest::default()
    }
}

pub fn dns_name(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc")
}
