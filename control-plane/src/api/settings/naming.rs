//! What an object is for: read from its name, TYPE-CLUSTER-MICROSERVICE or root-CLUSTER-NAME, or said by its spec.
//!
//! A name of that form is read as such, its cluster up to the first hyphen. `spec.cluster` names a cluster with hyphens;
//! `spec.service` of a certificate, or `spec.cluster` of an authority, lets the object have any name.

use crate::api::leaf_request::Usage;
use crate::api::resource::{CertificateAuthoritySpec, Kind, Naming, NamingError, ServiceCertificateSpec};

/// As long as a label of a DNS name may be.
const LONGEST_LABEL: usize = 63;

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNaming {
    pub usage: Usage,
    /// `None`: that of its authority.
    pub cluster: Option<String>,
    pub service: String,
}

impl CertificateNaming {
    pub fn read(name: &str, spec: &ServiceCertificateSpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let cluster = spec.cluster.as_deref().filter(|cluster| cluster_is_valid(cluster, &mut errors));
        let naming = match &spec.service {
            Some(service) => Self::of_spec(name, service, spec, &mut errors),
            None => Self::of_name(name, cluster, spec.usage, &mut errors),
        };
        match naming {
            Some((usage, naming_cluster, service)) if errors.is_empty() => {
                Ok(Self { usage, cluster: spec.cluster.clone().or(naming_cluster), service })
            }
            _ => Err(errors),
        }
    }

    /// The service of a certificate whose spec may be invalid otherwise.
    pub fn service(name: &str, spec: &ServiceCertificateSpec) -> String {
        let of_name = || {
            let naming = read_name(name, spec.cluster.as_deref()).or_else(|_| name.parse());
            naming.map_or_else(|_| name.to_owned(), |naming: Naming| naming.microservice)
        };
        spec.service.clone().unwrap_or_else(of_name)
    }

    /// The name says nothing.
    fn of_spec(
        name: &str,
        service: &str,
        spec: &ServiceCertificateSpec,
        errors: &mut Vec<String>,
    ) -> Option<(Usage, Option<String>, String)> {
        if !is_label(service) {
            errors.push(format!(
                "service: {service:?} is not the name of a Service: write lower-case letters, digits and hyphens, \
                 {LONGEST_LABEL} at most"
            ));
        }
        let prefix = ["server-", "client-"].into_iter().find(|prefix| name.starts_with(prefix));
        match (spec.usage, prefix) {
            (Some(usage), _) => Some((usage, None, service.to_owned())),
            (None, None) => Some((Usage::default(), None, service.to_owned())),
            (None, Some(prefix)) => {
                errors.push(format!(
                    "usage: the name begins with {prefix}, which says nothing beside spec.service: write usage: mtls, \
                     server or client"
                ));
                None
            }
        }
    }

    fn of_name(
        name: &str,
        cluster: Option<&str>,
        usage: Option<Usage>,
        errors: &mut Vec<String>,
    ) -> Option<(Usage, Option<String>, String)> {
        let naming = match read_name(name, cluster) {
            Ok(naming) => naming,
            Err(error) => {
                errors.push(format!("name: {error}; or give spec.service, beside which any name will do"));
                return None;
            }
        };
        let Some(own) = naming.kind.usage() else {
            errors.push(format!("name: {name:?} has the type {}, use the form {LEAF_FORM}", naming.kind));
            return None;
        };
        if let Some(other) = usage.filter(|usage| *usage != own) {
            errors.push(format!("usage: the name says {}, and the spec {}", own.as_str(), other.as_str()));
        }
        Some((own, Some(naming.cluster), naming.microservice))
    }
}

/// The forms of names, for errors.
const ROOT_FORM: &str = "root-CLUSTER-NAME, such as root-prod-shop";
const LEAF_FORM: &str = "mtls-CLUSTER-MICROSERVICE, such as mtls-prod-payments";

/// The cluster of an authority.
pub(super) fn authority_cluster(
    name: &str,
    spec: &CertificateAuthoritySpec,
    errors: &mut Vec<String>,
) -> Option<String> {
    if let Some(cluster) = &spec.cluster {
        return cluster_is_valid(cluster, errors).then(|| cluster.clone());
    }
    match name.parse::<Naming>() {
        Ok(naming) if naming.kind == Kind::Root => return Some(naming.cluster),
        Ok(naming) => errors.push(format!(
            "name: {name:?} has the type {}, use the form {ROOT_FORM}, or give spec.cluster",
            naming.kind
        )),
        // The error of a name says how leaves are named.
        Err(_) => errors.push(format!(
            "name: {name:?} is not of the form {ROOT_FORM}; or give spec.cluster, beside which any name will do"
        )),
    }
    None
}

/// With `cluster`, it may have hyphens.
fn read_name(name: &str, cluster: Option<&str>) -> Result<Naming, NamingError> {
    let naming = name.parse::<Naming>()?;
    let Some(cluster) = cluster else { return Ok(naming) };
    let rest = name.strip_prefix(&format!("{}-{cluster}-", naming.kind)).filter(|rest| !rest.is_empty());
    let wrong =
        NamingError { name: name.to_owned(), problem: "it does not have the cluster of spec.cluster" };
    let microservice = rest.ok_or(wrong)?.to_owned();
    Ok(Naming { cluster: cluster.to_owned(), microservice, ..naming })
}

fn cluster_is_valid(cluster: &str, errors: &mut Vec<String>) -> bool {
    let is_valid = cluster.split('.').all(is_label);
    if !is_valid {
        errors.push(format!(
            "cluster: {cluster:?} is not a name: write lower-case letters, digits, hyphens and dots"
        ));
    }
    is_valid
}

fn is_label(text: &str) -> bool {
    let is_character = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_LABEL).contains(&text.len())
        && text.bytes().all(is_character)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        name: &str,
        cluster: &str,
        service: &str,
        usage: Option<Usage>,
    ) -> Result<CertificateNaming, String> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = ServiceCertificateSpec {
            cluster: given(cluster),
            service: given(service),
            usage,
            ..Default::default()
        };
        CertificateNaming::read(name, &spec).map_err(|errors| errors.join("; "))
    }

    #[test]
    fn a_name_and_what_the_spec_says_beside_it_make_a_certificate() {
        use Usage::{ClientOnly, ServerAndClient, ServerOnly};
        for (name, cluster, service, usage, expected) in [
            // As the name says, its cluster up to the first hyphen.
            ("mtls-prod-eu-payments", "", "", None, (ServerAndClient, Some("prod"), "eu-payments")),
            ("server-prod-payments", "", "", Some(ServerOnly), (ServerOnly, Some("prod"), "payments")),
            // A cluster with hyphens.
            ("mtls-prod-eu-payments", "prod-eu", "", None, (ServerAndClient, Some("prod-eu"), "payments")),
            ("client-prod-eu-a-b", "prod-eu", "", None, (ClientOnly, Some("prod-eu"), "a-b")),
            // A free name.
            ("payments", "", "payments", None, (ServerAndClient, None, "payments")),
            ("edge", "prod-eu", "payments", Some(ServerOnly), (ServerOnly, Some("prod-eu"), "payments")),
            ("mtls-prod-eu-payments", "", "payments", None, (ServerAndClient, None, "payments")),
            (
                "client-portal",
                "",
                "client-portal",
                Some(ServerAndClient),
                (ServerAndClient, None, "client-portal"),
            ),
        ] {
            let (usage_is, cluster_is, service_is) = expected;
            let expected = CertificateNaming {
                usage: usage_is,
                cluster: cluster_is.map(str::to_owned),
                service: service_is.to_owned(),
            };
            assert_eq!(read(name, cluster, service, usage), Ok(expected), "{name} {cluster} {service}");
        }
    }

    #[test]
    fn a_name_that_says_too_little_or_something_else_is_refused() {
        for (name, cluster, service, usage, said) in [
            ("payments", "", "", None, "give spec.service"),
            ("payments", "prod", "", None, "TYPE-CLUSTER-MICROSERVICE"),
            ("mtls-prod-payments", "prod-eu", "", None, "does not have the cluster of spec.cluster"),
            ("mtls-prod-eu", "prod-eu", "", None, "does not have the cluster of spec.cluster"),
            ("mtls-prod-eu-", "prod-eu", "", None, "does not have the cluster of spec.cluster"),
            ("root-prod-shop", "", "", None, "has the type root"),
            (
                "server-prod-payments",
                "",
                "",
                Some(Usage::ClientOnly),
                "usage: the name says server, and the spec client",
            ),
            ("server-prod-payments", "", "payments", None, "usage: the name begins with server-"),
            ("payments", "", "pay_ments", None, "service: \"pay_ments\""),
            ("payments", "", "a.b", None, "service: \"a.b\""),
            ("payments", "Prod", "payments", None, "cluster: \"Prod\""),
        ] {
            let errors = read(name, cluster, service, usage).unwrap_err();
            assert!(errors.contains(said), "{name}: {said:?} in {errors:?}");
        }
    }

    #[test]
    fn an_authority_has_its_cluster_in_its_name_or_in_its_spec() {
        let cluster = |name: &str, cluster: Option<&str>| {
            let spec = CertificateAuthoritySpec { cluster: cluster.map(str::to_owned), ..Default::default() };
            let mut errors = Vec::new();
            authority_cluster(name, &spec, &mut errors).ok_or_else(|| errors.join("; "))
        };
        assert_eq!(cluster("root-prod-eu-shop", None), Ok("prod".into()));
        assert_eq!(cluster("root-prod-eu-shop", Some("prod-eu")), Ok("prod-eu".into()));
        assert_eq!(cluster("shop-ca", Some("prod")), Ok("prod".into()));
        assert!(cluster("shop-ca", None).is_err_and(|error| error.contains("or give spec.cluster")));
        assert!(cluster("shop-ca", Some("-")).is_err_and(|error| error.contains("cluster: \"-\"")));
    }
}
