//! The valid spec of a certificate that is signed here.

use std::net::IpAddr;
use std::time::Duration;

use super::{AuthoritySettings, CertificateNaming, History, digest, duration, history, length, manager};
use crate::api::duration::format as format_duration;
use crate::api::leaf_request::{LeafRequest, Usage};
use crate::api::permitted_names::PermittedNames;
use crate::api::resource::{ManagerRef, ServiceCertificateSpec};

const LEAF_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A valid spec of a certificate that is signed here.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSettings {
    pub secret_name: String,
    pub leaf: LeafRequest,
    /// How long before its end a leaf is renewed.
    pub renew_before: Duration,
    pub history: History,
    /// Where each new version is brought as well.
    pub manager: Option<ManagerRef>,
}

impl CertificateSettings {
    /// Of a leaf whose spec does not say.
    pub fn default_lifetime(authority: &AuthoritySettings) -> Duration {
        LEAF_LIFETIME.min(authority.leaf_lifetime_max)
    }

    /// Of the certificate `namespace`/`name` under this authority.
    pub fn validate(
        namespace: &str,
        name: &str,
        spec: &ServiceCertificateSpec,
        authority: &AuthoritySettings,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let naming = CertificateNaming::read(name, spec).map_err(|found| errors.extend(found)).ok();
        let own_cluster = naming.as_ref().and_then(|naming| naming.cluster.as_ref());
        if let Some(cluster) = own_cluster.filter(|cluster| **cluster != authority.cluster) {
            errors.push(other_cluster(cluster, spec, authority));
        }
        let (usage, service) = match &naming {
            Some(naming) => (naming.usage, naming.service.as_str()),
            None => (Usage::default(), name),
        };
        length(name, &mut errors);
        if !authority.may_be_used_in(namespace) {
            errors.push(format!(
                "authority: {} does not allow the namespace {namespace}: add it to its namespaces",
                spec.authority
            ));
        }
        let lifetime =
            duration("lifetime", spec.lifetime.as_deref(), Self::default_lifetime(authority), &mut errors);
        if lifetime > authority.leaf_lifetime_max {
            errors.push(format!(
                "lifetime: {} is longer than the authority allows, {}",
                format_duration(lifetime),
                format_duration(authority.leaf_lifetime_max)
            ));
        }
        let renew_before = duration("renewBefore", spec.renew_before.as_deref(), lifetime / 3, &mut errors);
        if renew_before >= lifetime {
            errors.push(
                "renewBefore: must be shorter than the lifetime, or every leaf would be due at once".into(),
            );
        }
        let service_names = || authority.cluster_domain.service_names(service, namespace);
        let dns_names = spec.dns_names.clone().unwrap_or_else(service_names);
        let spiffe_id = spec
            .spiffe_id
            .clone()
            .unwrap_or_else(|| format!("spiffe://{}/ns/{namespace}/sa/{service}", authority.trust_domain));
        let leaf = LeafRequest {
            // The common name is for people; it has 64 characters at most.
            common_name: service.chars().take(64).collect(),
            dns_names: dns_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            ip_addresses: ip_addresses(spec, &mut errors),
            spiffe_id: Some(spiffe_id),
            algorithm: spec.algorithm.unwrap_or_default(),
            lifetime,
            usage,
        };
        authority.names.check(namespace, &leaf, &mut errors);
        check_constraints(&leaf, authority, &mut errors);
        if let Err(error) = leaf.validate() {
            errors.push(error.to_string());
        }
        let secret_name = Self::secret_name(name, spec);
        let (history, manager) = (history(spec), manager(spec, &mut errors));
        let settings = Self { secret_name, leaf, renew_before, history, manager };
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }
}

impl CertificateSettings {
    /// Of the Secret that the certificate `name` is published as, even when its spec is invalid otherwise.
    pub fn secret_name(name: &str, spec: &ServiceCertificateSpec) -> String {
        let default = || format!("{}-tls", CertificateNaming::service(name, spec));
        spec.secret_name.clone().unwrap_or_else(default)
    }

    /// Tells apart what leaves are made for: a leaf made for something else is replaced.
    pub fn digest(&self) -> String {
        digest::of_leaf(&self.leaf)
    }
}

fn other_cluster(cluster: &str, spec: &ServiceCertificateSpec, authority: &AuthoritySettings) -> String {
    let own = &authority.cluster;
    match &spec.cluster {
        Some(_) => format!("cluster: it is {cluster}, and that of the authority is {own}"),
        None => format!(
            "name: the cluster is {cluster}, and that of the authority is {own}: write spec.cluster if that has a \
             hyphen"
        ),
    }
}

/// DNS names that a root with the authority's name constraints would not permit.
fn check_constraints(leaf: &LeafRequest, authority: &AuthoritySettings, errors: &mut Vec<String>) {
    let constraints = PermittedNames::within(&authority.permitted_dns_domains);
    for name in leaf.dns_names.iter().filter(|name| !constraints.permits(name)) {
        errors.push(format!(
            "dnsNames: {name} is in none of the authority's nameConstraints.permittedDnsDomains, {}: add its domain there, \
             or give dnsNames that are",
            authority.permitted_dns_domains.join(", ")
        ));
    }
}

/// In one form each: IPv4 also where it was written as IPv6.
fn ip_addresses(spec: &ServiceCertificateSpec, errors: &mut Vec<String>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for text in spec.ip_addresses.iter().flatten() {
        match text.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => {
                errors.push(format!("ipAddresses: {text:?} is not an IP address: write it like 10.0.0.1"))
            }
        }
    }
    addresses
}
