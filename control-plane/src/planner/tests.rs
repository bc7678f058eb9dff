//! What `plan` decides, tested in two ways: tables ([`lifecycle`], [`ledger`], [`rollover`], [`serving`], [`notifications`],
//! [`sync`], [`revocation`]), each row a state and what follows from it, and a simulated [`world`] in which anything may happen
//! in any order while the invariants hold after every step.

mod conditions;
mod ledger;
mod lifecycle;
mod notifications;
mod revocation;
mod rollover;
mod scene;
mod serving;
mod sync;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::*;
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ServiceCertificateSpec,
};
use crate::api::settings::{AuthoritySettings, ClusterDomain};
use crate::pki::keyring::{Phase, RootId, State};
use crate::pki::x509_facts::{Fingerprint, Leaf, Root};
use crate::planner::observed::{ResourceVersion, Version};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BACKDATE: Duration = crate::pki::authority::BACKDATE;
const AUTHORITY: &str = "root-prod-mesh";
const LEAF_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const ROOT_LIFE: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// 2026-01-01.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn authority_spec() -> CertificateAuthoritySpec {
    CertificateAuthoritySpec {
        namespaces: vec!["shop".into(), "bank".into()],
        lifetime: Some("120d".into()),
        leaf_lifetime_max: Some("30d".into()),
        rollover_allowance: Some("10d".into()),
        ..CertificateAuthoritySpec::default()
    }
}

fn certificate_spec() -> ServiceCertificateSpec {
    ServiceCertificateSpec { authority: AUTHORITY.into(), ..ServiceCertificateSpec::default() }
}

fn digest(name: &ObjectName, spec: &ServiceCertificateSpec) -> String {
    let authority =
        AuthoritySettings::validate(AUTHORITY, &authority_spec(), &ClusterDomain::default()).unwrap();
    CertificateSettings::validate(&name.namespace, &name.name, spec, &authority)
        .map_or_else(|wrong| panic!("{name}: {wrong:?}"), |settings| settings.digest())
}

/// Eight digits that differ, and then zeros.
fn sha256(number: u64) -> String {
    // Digits are spread, because jitter follows from them.
    let spread = (number as u32).wrapping_mul(2_654_435_761);
    format!("{spread:08x}{number:056x}")
}

fn root_id(number: u64) -> RootId {
    RootId(sha256(number))
}

fn root(made: SystemTime) -> Root {
    Root { serial: "1".into(), not_before: made - BACKDATE, not_after: made + ROOT_LIFE }
}

fn leaf(number: u64, made: SystemTime, life: Duration) -> Leaf {
    let serial = format!("{number:x}");
    Leaf { sha256: sha256(number), serial, not_before: made - BACKDATE, not_after: made + life }
}

fn fingerprint(number: u64) -> Fingerprint {
    let mut digits = [0; 32];
    digits[..8].copy_from_slice(&number.to_be_bytes());
    Fingerprint(digits)
}

fn stamp(number: u64) -> ResourceVersion {
    ResourceVersion(number.to_string())
}
