//! Validates specs: fills in defaults, parses durations, checks names. A value of these types can be acted on;
//! an invalid spec gives the list of all its errors, each with its field.

use std::time::Duration;

use hotcert_tls::SpiffeId;

use crate::api::algorithm::Algorithm;
use crate::api::duration;
use crate::api::leaf_request::{LeafRequest, Usage};
use crate::api::resource::{CertificateAuthoritySpec, Kind, ManagerRef, Naming, ServiceCertificateSpec};
use crate::digest::sha256_hex;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
const LEAF_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const ALLOWANCE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DRAIN_DEADLINE: Duration = Duration::from_secs(60 * 60);
const HISTORY: usize = 5;
/// As long as the value of a label may be: what is kept of a certificate is found by it.
const LONGEST_NAME: usize = 63;
/// Of an authority whose spec does not say.
pub const TRUST_DOMAIN: &str = "cluster.local";
const ALL: &str = "*";
/// The forms of names, for errors.
const ROOT_FORM: &str = "root-CLUSTER-NAME, such as root-prod-shop";
const LEAF_FORM: &str = "mtls-CLUSTER-MICROSERVICE, such as mtls-prod-payments";

/// A valid spec of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    pub cluster: String,
    pub common_name: String,
    pub algorithm: Algorithm,
    pub lifetime: Duration,
    pub leaf_lifetime_max: Duration,
    /// Between the moment a root is due to be replaced and the one from which leaves would be cut short.
    pub rollover_allowance: Duration,
    pub automatic_rollover: bool,
    pub drain_deadline: Duration,
    pub trust_domain: String,
    pub any_name: bool,
    pub namespaces: Vec<String>,
    /// Of the Secret with a root that exists already.
    pub import: Option<String>,
}

/// A valid spec of a certificate that is signed here.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSettings {
    pub secret_name: String,
    pub leaf: LeafRequest,
    /// How long before its end a leaf is renewed.
    pub renew_before: Duration,
    /// How many versions are kept.
    pub history: usize,
    /// Where each new version is brought as well.
    pub manager: Option<ManagerRef>,
}

/// A valid spec of a certificate that is fetched from a manager.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedSettings {
    pub secret_name: String,
    /// Where it comes from.
    pub manager: ManagerRef,
    pub history: usize,
}

impl AuthoritySettings {
    pub fn validate(name: &str, spec: &CertificateAuthoritySpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let naming = naming(name, &mut errors, |kind| kind == Kind::Root, ROOT_FORM);
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
                duration::format(lifetime),
                duration::format(leaf_lifetime_max),
                duration::format(rollover_allowance),
            ));
        }
        match naming {
            Some(naming) if errors.is_empty() => Ok(Self {
                cluster: naming.cluster,
                common_name: spec.common_name.clone().unwrap_or_else(|| name.to_owned()),
                algorithm: spec.algorithm.unwrap_or_default(),
                lifetime,
                leaf_lifetime_max,
                rollover_allowance,
                automatic_rollover: spec.automatic_rollover.unwrap_or(true),
                drain_deadline,
                trust_domain: spec.trust_domain.clone().unwrap_or_else(|| TRUST_DOMAIN.into()),
                any_name: spec.any_name.unwrap_or(false),
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
        let naming = naming(name, &mut errors, |kind| kind.usage().is_some(), LEAF_FORM);
        let (usage, microservice) = match &naming {
            Some(naming) => {
                if naming.cluster != authority.cluster {
                    errors.push(format!(
                        "name: the cluster is {}, and that of the authority is {}",
                        naming.cluster, authority.cluster
                    ));
                }
                (naming.kind.usage().unwrap_or_default(), naming.microservice.as_str())
            }
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
                duration::format(lifetime),
                duration::format(authority.leaf_lifetime_max)
            ));
        }
        let renew_before = duration("renewBefore", spec.renew_before.as_deref(), lifetime / 3, &mut errors);
        if renew_before >= lifetime {
            errors.push(
                "renewBefore: must be shorter than the lifetime, or every leaf would be due at once".into(),
            );
        }
        let service = format!("{microservice}.{namespace}.svc");
        let dns_names = spec
            .dns_names
            .clone()
            .unwrap_or_else(|| vec![service.clone(), format!("{service}.cluster.local")]);
        let spiffe_id = spec.spiffe_id.clone().unwrap_or_else(|| {
            format!("spiffe://{}/ns/{namespace}/sa/{microservice}", authority.trust_domain)
        });
        if !authority.any_name {
            foreign_names(namespace, &dns_names, &spiffe_id, authority, &mut errors);
        }
        let leaf = LeafRequest {
            // The common name is for people; it has 64 characters at most.
            common_name: microservice.chars().take(64).collect(),
            dns_names: dns_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            ip_addresses: Vec::new(),
            spiffe_id: Some(spiffe_id),
            algorithm: spec.algorithm.unwrap_or_default(),
            lifetime,
            usage,
        };
        if let Err(error) = leaf.validate() {
            errors.push(error.to_string());
        }
        let secret_name = Self::secret_name(name, spec);
        let (history, manager) = (history(spec), manager(spec, &mut errors));
        let settings = Self { secret_name, leaf, renew_before, history, manager };
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }
}

impl FetchedSettings {
    /// Of the certificate `name`, which names no authority.
    pub fn validate(name: &str, spec: &ServiceCertificateSpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        naming(name, &mut errors, |kind| kind.usage().is_some(), LEAF_FORM);
        length(name, &mut errors);
        let decided_there = [
            ("dnsNames", spec.dns_names.is_some()),
            ("spiffeId", spec.spiffe_id.is_some()),
            ("algorithm", spec.algorithm.is_some()),
            ("lifetime", spec.lifetime.is_some()),
            ("renewBefore", spec.renew_before.is_some()),
        ];
        for (field, _) in decided_there.into_iter().filter(|(_, given)| *given) {
            errors.push(format!("{field}: remove it; without an authority the manager decides it"));
        }
        if spec.manager.is_none() {
            errors.push(
                "authority: name the authority that signs it, or the manager that it is fetched from".into(),
            );
        }
        let secret_name = CertificateSettings::secret_name(name, spec);
        match manager(spec, &mut errors) {
            Some(manager) if errors.is_empty() => Ok(Self { secret_name, manager, history: history(spec) }),
            _ => Err(errors),
        }
    }

    /// As [`CertificateSettings::digest`].
    pub fn digest(&self) -> String {
        let ManagerRef { name, id } = &self.manager;
        sha256_hex(format!("{name:?} {id:?}").as_bytes())[..16].to_owned()
    }
}

/// The id becomes a part of URLs.
fn manager(spec: &ServiceCertificateSpec, errors: &mut Vec<String>) -> Option<ManagerRef> {
    let manager = spec.manager.clone()?;
    let is_ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let ManagerRef { name, id } = &manager;
    if name.is_empty() || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) || !id.chars().all(is_ok) {
        errors.push("manager: give a name from the controller's settings, and the certificate's id at the manager: letters, digits, dots, hyphens and underscores".into());
    }
    Some(manager)
}

fn history(spec: &ServiceCertificateSpec) -> usize {
    spec.history.map_or(HISTORY, |history| (history as usize).max(1))
}

fn length(name: &str, errors: &mut Vec<String>) {
    if name.len() > LONGEST_NAME {
        errors.push(format!("name: {} characters are too many, use at most {LONGEST_NAME}", name.len()));
    }
}

impl CertificateSettings {
    /// Of the Secret that the certificate `name` is published as, even when its spec is invalid otherwise.
    pub fn secret_name(name: &str, spec: &ServiceCertificateSpec) -> String {
        let default = || {
            let naming = name.parse::<Naming>();
            format!("{}-tls", naming.as_ref().map_or(name, |naming| naming.microservice.as_str()))
        };
        spec.secret_name.clone().unwrap_or_else(default)
    }

    /// Tells apart what leaves are made for: a leaf made for something else is replaced.
    pub fn digest(&self) -> String {
        let LeafRequest { common_name, dns_names, ip_addresses, spiffe_id, algorithm, lifetime, usage } =
            &self.leaf;
        let text = format!(
            "{common_name:?} {dns_names:?} {ip_addresses:?} {spiffe_id:?} {algorithm} {lifetime:?} {usage:?}"
        );
        sha256_hex(text.as_bytes())[..16].to_owned()
    }
}

/// Names outside the certificate's own namespace.
fn foreign_names(
    namespace: &str,
    dns_names: &[String],
    spiffe_id: &str,
    authority: &AuthoritySettings,
    errors: &mut Vec<String>,
) {
    let own = format!(".{namespace}.svc");
    for name in dns_names {
        let lower = name.to_ascii_lowercase();
        let host = lower.strip_suffix(".cluster.local").unwrap_or(&lower);
        if !host.ends_with(&own) || host.len() == own.len() {
            errors.push(format!(
                "dnsNames: {name} is not under {}: an authority with anyName: true would sign it",
                &own[1..]
            ));
        }
    }
    let is_own = |id: SpiffeId| {
        let mut path = id.segments();
        id.trust_domain() == authority.trust_domain
            && path.by_ref().take(2).eq(["ns", namespace])
            && path.next().is_some()
    };
    // What is no SPIFFE ID is refused with what is wrong with it.
    if spiffe_id.parse().is_ok_and(|id| !is_own(id)) {
        let own = format!("spiffe://{}/ns/{namespace}/", authority.trust_domain);
        errors.push(format!(
            "spiffeId: {spiffe_id} is not under {own}: an authority with anyName: true would sign it"
        ));
    }
}

fn naming(name: &str, errors: &mut Vec<String>, fits: impl Fn(Kind) -> bool, form: &str) -> Option<Naming> {
    match name.parse::<Naming>() {
        Ok(naming) if fits(naming.kind) => return Some(naming),
        Ok(naming) => {
            errors.push(format!("name: {name:?} has the type {}, use the form {form}", naming.kind))
        }
        // The error of a name says how leaves are named.
        Err(_) if fits(Kind::Root) => errors.push(format!("name: {name:?} is not of the form {form}")),
        Err(error) => errors.push(format!("name: {error}")),
    }
    None
}

/// Longer than zero.
fn duration(field: &str, text: Option<&str>, default: Duration, errors: &mut Vec<String>) -> Duration {
    let parsed = duration_or_zero(field, text, default, errors);
    if parsed.is_zero() {
        errors.push(format!("{field}: must be longer than zero, such as 90d, 36h or 30m"));
    }
    parsed
}

fn duration_or_zero(
    field: &str,
    text: Option<&str>,
    default: Duration,
    errors: &mut Vec<String>,
) -> Duration {
    /// 150 years: added to a date it still gives a date.
    const LONGEST: Duration = Duration::from_secs(150 * 365 * 24 * 60 * 60);
    let Some(text) = text else { return default };
    match duration::parse(text) {
        Ok(duration) if duration <= LONGEST => duration,
        Ok(_) => {
            errors
                .push(format!("{field}: {text:?} is longer than {} days", LONGEST.as_secs() / DAY.as_secs()));
            default
        }
        Err(error) => {
            errors.push(format!("{field}: {error}"));
            default
        }
    }
}

#[cfg(test)]
mod tests;
