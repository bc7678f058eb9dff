//! The plan: what has to be done, as a function of the observed state and the time. Pure and total: every
//! decision is made here, so that each can be tested as a row of a table. An action that was lost is
//! planned again in the next round; an action that was planned on an outdated state is a conflict where it
//! is applied.
//!
//! | module | what it is |
//! |---|---|
//! | [`observed`] | the state that a plan is made from |
//! | [`plan`](self::plan()) | the actions, probes, notifications and sync tasks that follow |
//! | `certificate`, `authority` | what is decided about one object, and the rules that its decisions share |
//! | `lifecycle` | a certificate that is signed here: issue, renew, publish, prune |
//! | `external_sync` | a certificate that an external manager has: fetch it, or push it there |
//! | `moves` | a certificate that comes from another authority or a manager |
//! | `rollback` | back to an earlier version |
//! | `rollover` | an authority: create, replace, reverse, remove a root, and what blocks that |
//! | [`grounds`] | what a step of a rollover was taken on: proof, overrides, or force |
//! | `dependent`, `pods` | a certificate as its authority sees it, and what its pods were seen to serve |
//! | `serving`, `nudge` | which pods to list, nudge and probe after a publication, and what they serve |
//! | `notifications` | which subscriptions have yet to be notified of what |
//! | `status` | the status of the objects; which reasons make them unready ([`Effect`]) |
//! | [`outbox`] | deliveries to external receivers and managers, and when each is tried again |
//! | [`renewal_hint`] | what an external source reports about a certificate |

mod authority;
mod certificate;
mod dependent;
mod external_sync;
pub mod grounds;
mod lifecycle;
mod moves;
mod notifications;
mod nudge;
pub mod observed;
mod plan;
mod pods;
pub mod renewal_hint;
mod rollback;
mod rollover;
mod serving;
mod status;

use std::collections::BTreeMap;
use std::time::SystemTime;

use authority::AuthorityPlan;
use certificate::{CertificateContext, CertificatePlan};
use dependent::DependentCertificate;
use moves::MoveStage;
use observed::{Certificate, Observed};
pub use plan::{
    Action, IssueReason, PendingNotification, Plan, ProbeRequest, SyncAction, SyncTask, Transition,
};
use pods::PodsBySecret;
pub use status::Effect;

use crate::api::condition::Reason;
use crate::api::object_name::ObjectName;
use crate::api::settings::{AuthoritySettings, CertificateSettings, FetchedSettings};

pub fn plan(observed: &Observed, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    let specs = Specs::validate(observed);
    let pods = PodsBySecret::new(observed);
    let authority_plans = plan_authorities(&pods, &specs, now, &mut plan);
    for (name, certificate) in &observed.certificates {
        let context = CertificateContext { name, certificate, now };
        let authority_plan = authority_plans.get(certificate.spec.authority.as_str());
        let certificate_plan = plan_certificate(&pods, &specs, &context, authority_plan, &mut plan);
        let served = serving::plan(&pods, &context, authority_plan, &certificate_plan, &mut plan);
        status::certificate(observed, &context, &certificate_plan, served, &mut plan);
    }
    for (name, authority_plan) in &authority_plans {
        status::authority(observed, name, authority_plan, now, &mut plan);
    }
    for (name, secret) in &observed.watched_secrets {
        notifications::watched_secret(observed, name, secret, now, &mut plan);
    }
    plan.merge_duplicates();
    plan
}

/// The specs of all objects, validated; an error lists every fault.
struct Specs<'a> {
    authorities: BTreeMap<&'a str, Result<AuthoritySettings, Vec<String>>>,
    /// Certificates of an authority whose spec is valid.
    signed: BTreeMap<&'a ObjectName, Result<CertificateSettings, Vec<String>>>,
    /// Certificates that name no authority.
    fetched: BTreeMap<&'a ObjectName, Result<FetchedSettings, Vec<String>>>,
}

impl<'a> Specs<'a> {
    fn validate(observed: &'a Observed) -> Self {
        let authorities: BTreeMap<_, _> = observed
            .authorities
            .iter()
            .map(|(name, authority)| {
                let settings = AuthoritySettings::validate(name, &authority.spec, &observed.cluster_domain);
                (name.as_str(), settings)
            })
            .collect();
        let signed = observed.certificates.iter().filter_map(|(name, certificate)| {
            let authority = authorities.get(certificate.spec.authority.as_str())?.as_ref().ok()?;
            let settings =
                CertificateSettings::validate(&name.namespace, &name.name, &certificate.spec, authority);
            Some((name, settings))
        });
        let signed = signed.collect();
        let fetched =
            observed.certificates.iter().filter(|(_, certificate)| certificate.spec.authority.is_empty());
        let fetched = fetched
            .map(|(name, certificate)| (name, FetchedSettings::validate(&name.name, &certificate.spec)))
            .collect();
        Self { authorities, signed, fetched }
    }

    fn dependent(&'a self, name: &'a ObjectName, certificate: &'a Certificate) -> DependentCertificate<'a> {
        let settings = self.signed.get(name).and_then(|settings| settings.as_ref().ok());
        let secret = settings.map(|settings| &settings.secret_name);
        let secret = secret.or(certificate.status.secret_name.as_ref()).map_or("", String::as_str);
        DependentCertificate { name, certificate, secret, valid: settings.is_some() }
    }
}

fn plan_authorities<'a>(
    pods: &PodsBySecret<'a>,
    specs: &'a Specs<'_>,
    now: SystemTime,
    plan: &mut Plan,
) -> BTreeMap<&'a str, AuthorityPlan<'a>> {
    let observed = pods.observed;
    let mut dependents: BTreeMap<&str, Vec<DependentCertificate<'_>>> = BTreeMap::new();
    for (name, certificate) in &observed.certificates {
        let dependent = specs.dependent(name, certificate);
        dependents.entry(&certificate.spec.authority).or_default().push(dependent);
    }
    let authorities = observed.authorities.iter().map(|(name, authority)| {
        let name = name.as_str();
        let dependents = dependents.get(name).map_or(&[][..], Vec::as_slice);
        let settings = &specs.authorities[name];
        (name, rollover::plan(pods, (name, authority), settings, dependents, now, plan))
    });
    authorities.collect()
}

fn plan_certificate<'a>(
    pods: &PodsBySecret<'_>,
    specs: &'a Specs<'_>,
    context: &CertificateContext<'_>,
    authority_plan: Option<&AuthorityPlan<'_>>,
    plan: &mut Plan,
) -> CertificatePlan<'a> {
    let CertificateContext { name, certificate, .. } = *context;
    let observed = pods.observed;
    let settings = specs.signed.get(name);
    let mut certificate_plan = match specs.fetched.get(name) {
        Some(settings) => external_sync::plan_fetched(pods, context, settings, plan),
        None => lifecycle::plan(pods, context, settings, authority_plan, plan),
    };
    if certificate.spec.manager.is_some() {
        // Kept even while nothing can be done with the manager.
        certificate_plan.external_sync.clone_from(&certificate.status.external_sync);
    }
    if let Some(Ok(settings)) = settings {
        external_sync::plan_push(&observed.external, context, settings, &mut certificate_plan, plan);
    }
    if let Some(why) = observed.failed_actions.get(&name.to_string()) {
        certificate_plan.problem.get_or_insert_with(|| (Reason::ActionFailed, why.clone()));
    }
    if authority_plan.is_some_and(|authority_plan| authority_plan.authority.deleting) {
        let why = format!("the authority {} is being deleted: name another", certificate.spec.authority);
        certificate_plan.problem.get_or_insert((Reason::AuthorityDeleting, why));
    }
    // Without a problem the version for this spec is published, or will be in a moment.
    if let (Some(Ok(settings)), Some(_)) = (settings, &certificate_plan.problem) {
        let published = certificate.published_version();
        let is_moving = authority_plan
            .and_then(|authority_plan| authority_plan.moves.stage(name))
            .is_some_and(|stage| stage < MoveStage::Switching);
        certificate_plan.spec_pending =
            is_moving || published.is_some_and(|(_, version)| version.spec_digest != settings.digest());
    }
    certificate_plan
}

#[cfg(test)]
mod tests;
