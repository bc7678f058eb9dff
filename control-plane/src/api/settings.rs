//! Validates specs: fills in defaults, parses durations, checks names. A value of these types can be acted on;
//! an invalid spec gives the list of all its errors, each with its field.

mod authority;
mod certificate;
mod cluster_domain;
mod digest;
mod fetched;
mod name_policy;
mod naming;

use std::time::Duration;

pub use authority::{AuthoritySettings, TRUST_DOMAIN};
pub use certificate::CertificateSettings;
pub use cluster_domain::{CLUSTER_DOMAIN, ClusterDomain, ClusterDomainError};
pub use fetched::FetchedSettings;
pub use name_policy::NamePolicy;
pub use naming::CertificateNaming;

use crate::api::duration;
use crate::api::resource::{ManagerRef, ServiceCertificateSpec};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HISTORY: usize = 5;
/// Two: a second rotation that was to mend the first is undone by the way back over both.
const ROLLBACK_VERSIONS: usize = 2;
/// As long as the value of a label may be: what is kept of a certificate is found by it.
const LONGEST_NAME: usize = 63;

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

/// What is kept of the versions of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How many are kept, the published one included.
    pub versions: usize,
    /// How many before the published one keep their key, so that a rollback can publish them again.
    pub rollback_versions: usize,
}

fn history(spec: &ServiceCertificateSpec) -> History {
    History {
        versions: spec.history.map_or(HISTORY, |history| (history as usize).max(1)),
        rollback_versions: spec.rollback_versions.map_or(ROLLBACK_VERSIONS, |versions| versions as usize),
    }
}

fn length(name: &str, errors: &mut Vec<String>) {
    if name.len() > LONGEST_NAME {
        errors.push(format!("name: {} characters are too many, use at most {LONGEST_NAME}", name.len()));
    }
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
