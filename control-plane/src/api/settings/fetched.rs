//! The valid spec of a certificate that is fetched from a manager.

use super::{CertificateNaming, CertificateSettings, History, digest, history, length, manager};
use crate::api::leaf_request::Usage;
use crate::api::resource::{ManagerRef, ServiceCertificateSpec};

/// A valid spec of a certificate that is fetched from a manager.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedSettings {
    pub secret_name: String,
    /// Where it comes from.
    pub manager: ManagerRef,
    pub usage: Usage,
    pub history: History,
}

impl FetchedSettings {
    /// Of the certificate `name`, which names no authority.
    pub fn validate(name: &str, spec: &ServiceCertificateSpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let naming = CertificateNaming::read(name, spec).map_err(|found| errors.extend(found)).ok();
        length(name, &mut errors);
        let decided_there = [
            ("dnsNames", spec.dns_names.is_some()),
            ("ipAddresses", spec.ip_addresses.is_some()),
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
        match (naming, manager(spec, &mut errors)) {
            (Some(naming), Some(manager)) if errors.is_empty() => {
                Ok(Self { secret_name, manager, usage: naming.usage, history: history(spec) })
            }
            _ => Err(errors),
        }
    }

    /// As [`CertificateSettings::digest`].
    pub fn digest(&self) -> String {
        digest::of_manager(&self.manager)
    }
}
