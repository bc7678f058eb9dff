//! The valid spec of an authority.

use std::time::Duration;

use rustls_pki_types::DnsName;

use super::cluster_domain::ClusterDomain;
use super::{NamePolicy, duration, duration_or_zero, naming};
use crate::api::algorithm::Algorithm;
use crate::api::duration::format;
use crate::api::resource::CertificateAuthoritySpec;

const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const ALLOWANCE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DRAIN_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Of an authority whose spec does not say.
pub const TRUST_DOMAIN: &str = "cluster.local";
const ALL: &str = "*";

/// A valid spec of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    pub cluster: String,
    pub cluster_domain: ClusterDomain,
    pub common_name: String,
    pub algorithm: Algorithm,
    pub lifetime: Duration,
    pub leaf_lifetime_max: Duration,
    /// Between the moment a root is due to be replaced and the one from which leaves would be cut short.
    pub rollover_allowance: Duration,
    pub automatic_rollover: bool,
    pub drain_deadline: Duration,
    pub trust_domain: String,
    pub names: NamePolicy,
    /// Domains that the roots that are made permit DNS names in. Empty: all.
    pub permitted_dns_domains: Vec<String>,
    pub namespaces: Vec<String>,
    /// Of the Secret with a root that exists already.
    pub import: Option<String>,
}

impl AuthoritySettings {
    /// `cluster_domain`: of an authority whose spec names none.
    pub fn validate(
        name: &str,
        spec: &CertificateAuthoritySpec,
        cluster_domain: &ClusterDomain,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let cluster = naming::authority_cluster(name, spec, &mut errors);
        let cluster_domain = own_cluster_domain(spec, cluster_domain, &mut errors);
        let lifetime = duration("lifetime", spec.lifetime.as_deref(), ROOT_LIFETIME, &mut errors);
        let leaf_lifetime_max =
            duration("leafLifetimeMax", spec.leaf_lifetime_max.as_deref(), LEAF_LIFETIME_MAX, &mut errors);
        // Of a lifetime of zero the default would be zero as well, and one error is enough.
        let allowance = (lifetime / 10).clamp(Duration::from_secs(1), ALLOWANCE_MAX);
        let rollover_allowance =
            duration("rolloverAllowance", spec.rollover_allowance.as_deref(), allowance, &mut errors);
        let drain_deadline =
            duration_or_zero("drainDeadline", spec.drain_deadline.as_deref(), DRAIN_DEADLINE, &mut errors);
        if spec.namespaces.is_empty() {
            errors
                .push("namespaces: list the namespaces whose certificates it signs, or \"*\" for all".into());
        }
        if errors.is_empty() && lifetime < (leaf_lifetime_max + rollover_allowance) * 2 {
            errors.push(format!(
                "lifetime: {} is too short for leaves of up to {}: a root must live at least twice as long as the \
                 longest leaf and the time to replace the root ({}) together",
                format(lifetime),
                format(leaf_lifetime_max),
                format(rollover_allowance),
            ));
        }
        let trust_domain = spec.trust_domain.clone().unwrap_or_else(|| TRUST_DOMAIN.into());
        let names = NamePolicy::validate(spec, cluster_domain.clone(), trust_domain.clone(), &mut errors);
        let permitted_dns_domains = permitted_dns_domains(spec, &mut errors);
        match cluster {
            Some(cluster) if errors.is_empty() => Ok(Self {
                cluster,
                cluster_domain,
                common_name: spec.common_name.clone().unwrap_or_else(|| name.to_owned()),
                algorithm: spec.algorithm.unwrap_or_default(),
                lifetime,
                leaf_lifetime_max,
                rollover_allowance,
                automatic_rollover: spec.automatic_rollover.unwrap_or(true),
                drain_deadline,
                trust_domain,
                names,
                permitted_dns_domains,
                namespaces: spec.namespaces.clone(),
                import: spec.import.as_ref().map(|import| import.secret_name.clone()),
            }),
            _ => Err(errors),
        }
    }

    /// Also of a spec that is invalid otherwise.
    pub fn drain_deadline(spec: &CertificateAuthoritySpec) -> Duration {
        duration_or_zero("drainDeadline", spec.drain_deadline.as_deref(), DRAIN_DEADLINE, &mut Vec::new())
    }

    pub fn may_be_used_in(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|allowed| allowed == ALL || allowed == namespace)
    }
}

fn own_cluster_domain(
    spec: &CertificateAuthoritySpec,
    default: &ClusterDomain,
    errors: &mut Vec<String>,
) -> ClusterDomain {
    let Some(domain) = &spec.cluster_domain else { return default.clone() };
    domain.parse().unwrap_or_else(|error| {
        errors.push(format!("clusterDomain: {error}"));
        default.clone()
    })
}

fn permitted_dns_domains(spec: &CertificateAuthoritySpec, errors: &mut Vec<String>) -> Vec<String> {
    const FIELD: &str = "nameConstraints.permittedDnsDomains";
    let Some(constraints) = &spec.name_constraints else { return Vec::new() };
    if spec.import.is_some() {
        errors.push("nameConstraints: remove it; a root that is imported has its own".into());
    }
    if constraints.permitted_dns_domains.is_empty() {
        errors.push(format!("{FIELD}: name at least one domain, such as shop.svc"));
    }
    for domain in &constraints.permitted_dns_domains {
        if DnsName::try_from(domain.as_str()).is_err() || domain.ends_with('.') {
            errors.push(format!(
                "{FIELD}: {domain:?} is not a domain: write it without a wildcard and without dots at its ends, such \
                 as shop.svc; all names below are permitted with it"
            ));
        }
    }
    constraints.permitted_dns_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect()
}
