//! Certificates that an external manager has as well. One that names an authority is signed here, and what
//! is published is pushed to the manager afterwards, so that a failed push changes nothing in the cluster.
//! One that names none is made by the manager: it is fetched every hour and whenever a request or an
//! incoming event asks for it, and what is new there is stored as a version and published like any other.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::certificate::{CertificatePlan, CertificateState, obstacle};
use super::dependent::DependentCertificate;
use super::observed::{Certificate, ExternalState, FetchTrigger, Observed, Publication, Published, Version};
use super::plan::{Action, Plan, SyncAction, SyncTask};
use crate::api::condition::{Condition, ConditionType, Reason};
use crate::api::date;
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::resource::{ExternalSyncStatus, ManagerRef};
use crate::api::settings::{CertificateSettings, FetchedSettings};
use crate::digest::sha256_hex;
use crate::pki::keyring::RootId;

/// Between two fetches of a certificate that no request asks for.
const FETCH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// One that is made by its manager.
pub fn plan_fetched(
    context: &CertificateState<'_>,
    settings: &Result<FetchedSettings, Vec<String>>,
    plan: &mut Plan,
) -> CertificatePlan {
    let certificate = context.certificate;
    let mut certificate_plan =
        CertificatePlan { problem: obstacle(certificate), ..CertificatePlan::default() };
    let settings = match settings {
        Ok(settings) => settings,
        Err(errors) => {
            certificate_plan.problem.get_or_insert_with(|| (Reason::InvalidSpec, errors.join("; ")));
            return certificate_plan;
        }
    };
    certificate_plan.secret_name = Some(settings.secret_name.clone());
    if certificate_plan.problem.is_some() {
        return certificate_plan;
    }
    let newest = certificate.newest();
    let rollback =
        context.rollback(&settings.digest(), |number, version| check_trust(number, version, newest));
    if let Some(Err((id, why))) = &rollback {
        certificate_plan.refused_rollback = Some((id.clone(), why.clone()));
    }
    let next = rollback
        .and_then(Result::ok)
        .or_else(|| fetch(&context.pods.observed.external, context, settings, &mut certificate_plan, plan));
    if let Some(action) = next {
        plan.actions.push(action);
        certificate_plan.in_progress = true;
        return certificate_plan;
    }
    publish(context, settings, &mut certificate_plan, plan);
    if certificate_plan.up_to_date {
        // The latest version that was fetched is kept: whether a fetch brings something new is seen by it.
        let latest = certificate.latest_made().map(|(latest, _)| latest);
        let may_return = |version: &Version| check_trust(0, version, newest).is_ok();
        context.prune(settings.history, latest, may_return, plan);
    }
    certificate_plan
}

/// Whether the manager has something new, and when to ask it again.
fn fetch(
    external: &ExternalState,
    context: &CertificateState<'_>,
    settings: &FetchedSettings,
    certificate_plan: &mut CertificatePlan,
    plan: &mut Plan,
) -> Option<Action> {
    let manager = &settings.manager;
    if !is_manager_known(external, manager, context.certificate, certificate_plan) {
        if context.certificate.versions.is_empty() {
            let message =
                "the controller fetches it: one has to run, with this manager in its --notifications";
            certificate_plan.problem.get_or_insert((Reason::WaitingForManager, message.into()));
        }
        return None;
    }
    let request = [request::ROTATE, request::RENEWAL_HINT]
        .into_iter()
        .find_map(|verb| Some((verb, context.open_request(verb)?.id.clone())));
    let (hour, next) = hour(context.name, context.now);
    plan.wake(next);
    let trigger =
        request.as_ref().map_or(FetchTrigger::Hour(hour), |(_, id)| FetchTrigger::Request(id.clone()));
    let fetched = external.fetched.get(context.name).filter(|fetched| fetched.from == *manager);
    let is_answer = fetched.is_some_and(|fetched| fetched.trigger == trigger);
    if !is_answer {
        let task = SyncTask {
            certificate: context.name.clone(),
            with: manager.clone(),
            action: SyncAction::Fetch { trigger, usage: settings.usage },
        };
        if let Some(why) = external.failed.get(&task.key()) {
            certificate_plan.problem = Some((Reason::NotFetched, why.clone()));
        }
        plan.sync_tasks.push(task);
    }
    let fetched = fetched?;
    let request = request.filter(|_| is_answer);
    if fetched.is_known(context.certificate) {
        certificate_plan.obsolete_requests.extend(request);
        return None;
    }
    Some(Action::StoreFetched {
        certificate: context.name.clone(),
        version: context.next_version(),
        fingerprint: fetched.fingerprint,
        spec_digest: settings.digest(),
        request: request.map(|(_, id)| id),
    })
}

/// Which hour it is for this certificate, and when the next one begins: certificates that were created
/// together are not all fetched together.
fn hour(name: &ObjectName, now: SystemTime) -> (u64, SystemTime) {
    let digits = sha256_hex(name.to_string().as_bytes());
    let part = u32::from_str_radix(&digits[..8], 16).unwrap_or(0);
    // Whole minutes, so that many are fetched in one round.
    let minutes = FETCH_INTERVAL.as_secs() / 60;
    let shift = Duration::from_secs(60 * (u64::from(part) * minutes / (u64::from(u32::MAX) + 1)));
    let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default() + shift;
    let hour = elapsed.as_secs() / FETCH_INTERVAL.as_secs();
    let next = UNIX_EPOCH + Duration::from_secs((hour + 1) * FETCH_INTERVAL.as_secs()) - shift;
    (hour, next)
}

/// An error if the roots of the newest bundle do not include that of the version.
fn check_trust(number: u64, version: &Version, newest: Option<(u64, &Version)>) -> Result<(), String> {
    let bundle = newest.and_then(|(_, newest)| newest.own_bundle.as_ref());
    match bundle {
        Some(roots) if !roots.contains(&version.root) => {
            Err(format!("version {number} is under the root {}, which today's trust rejects", version.root))
        }
        _ => Ok(()),
    }
}

fn publish(
    context: &CertificateState<'_>,
    settings: &FetchedSettings,
    certificate_plan: &mut CertificatePlan,
    plan: &mut Plan,
) {
    let CertificateState { name, certificate, pods, now } = *context;
    let Some((newest_number, newest)) = certificate.newest() else { return };
    // One that was signed here, before its spec was changed, is replaced by the first that is fetched.
    let Some(roots) = &newest.own_bundle else { return };
    let before = match &certificate.published {
        Published::Ours(publication) => Some(publication),
        _ => None,
    };
    let (mut number, mut version, mut keep) = (newest_number, newest, BTreeSet::new());
    if let (Some(publication), Some((published_number, published))) =
        (before, certificate.published_version())
        && let Some(origin) = Origin::find(pods.observed, name, &settings.secret_name, roots, publication)
    {
        let is_own = published.own_bundle.is_some();
        let dependent =
            DependentCertificate { name, certificate, secret: &settings.secret_name, valid: true };
        let is_ours = |root: &RootId| roots.contains(root) || origin.roots.contains(root);
        let is_served = pods.all_serve(&dependent, publication, &origin.client.0, &is_ours, now);
        let may_switch = is_own || roots.is_subset(&publication.roots) && is_served;
        if !(is_own && is_served) {
            keep.clone_from(&origin.roots);
            certificate_plan.awaits_pods = true;
        }
        if !may_switch && now < published.leaf.not_after {
            (number, version) = (published_number, published);
            let message =
                "what its manager has waits until every pod trusts that as well as the roots it had before";
            certificate_plan.problem.get_or_insert((Reason::MovingTrust, message.into()));
        }
        certificate_plan.client = Some(origin.client);
        certificate_plan.moved_from = origin.roots;
    }
    let bundle = roots | &keep;
    if before.is_some_and(|before| before.fingerprint == version.fingerprint && before.roots == bundle) {
        certificate_plan.up_to_date = number == newest_number && keep.is_empty();
        return;
    }
    if now >= version.leaf.not_after {
        return;
    }
    certificate_plan.in_progress = true;
    plan.actions.push(Action::Publish {
        certificate: name.clone(),
        secret: settings.secret_name.clone(),
        version: number,
        bundle_from: Some(newest_number),
        roots: roots.iter().cloned().collect(),
        keep,
        revision: context.next_revision(before),
        expected: before.map(|before| before.resource_version.clone()),
    });
}

/// The authorities that signed it before it was fetched from its manager, as far as its pods still trust them.
struct Origin {
    roots: BTreeSet<RootId>,
    /// With what its pods are probed.
    client: (String, Vec<RootId>),
}

impl Origin {
    fn find(
        observed: &Observed,
        name: &ObjectName,
        secret: &str,
        own: &BTreeSet<RootId>,
        publication: &Publication,
    ) -> Option<Self> {
        let mut origin: Option<Self> = None;
        for (authority, keyring) in observed.keyrings() {
            let is_in_ledger = keyring.ledger_entry(&name.namespace, secret).is_some();
            let is_trusted = |root: &&RootId| publication.roots.contains(*root) && !own.contains(*root);
            let roots: Vec<_> = keyring.roots.keys().filter(is_trusted).cloned().collect();
            if is_in_ledger && !roots.is_empty() {
                let client = (authority.to_owned(), roots.clone());
                origin.get_or_insert(Self { roots: BTreeSet::new(), client }).roots.extend(roots);
            }
        }
        origin
    }
}

/// One that is signed here: what is published is pushed to its manager.
pub fn plan_push(
    external: &ExternalState,
    context: &CertificateState<'_>,
    settings: &CertificateSettings,
    certificate_plan: &mut CertificatePlan,
    plan: &mut Plan,
) {
    let Some(manager) = &settings.manager else { return };
    let CertificateState { name, certificate, now, .. } = *context;
    let (true, Some((number, version))) = (certificate_plan.up_to_date, certificate.published_version())
    else {
        return;
    };
    let sha256 = &version.leaf.sha256;
    let is_there = |synced: &ExternalSyncStatus| {
        synced.manager == manager.name && synced.id == manager.id && synced.sha256 == *sha256
    };
    if certificate_plan.external_sync.as_ref().is_some_and(is_there)
        || !is_manager_known(external, manager, certificate, certificate_plan)
    {
        return;
    }
    let action = SyncAction::Push { version: number, sha256: sha256.clone() };
    let task = SyncTask { certificate: name.clone(), with: manager.clone(), action };
    let key = task.key();
    // A task that is done is repeated here as well, until the status records it.
    plan.sync_tasks.push(task);
    if external.done.contains(&key) {
        certificate_plan.external_sync = Some(ExternalSyncStatus {
            manager: manager.name.clone(),
            id: manager.id.clone(),
            version: i64::try_from(number).unwrap_or(i64::MAX),
            sha256: sha256.clone(),
            synced_at: date::seconds(now),
        });
    } else if let Some(why) = external.failed.get(&key) {
        certificate_plan.problem.get_or_insert_with(|| (Reason::NotPushed, why.clone()));
    }
}

/// Whether this process is configured with the manager.
fn is_manager_known(
    external: &ExternalState,
    manager: &ManagerRef,
    certificate: &Certificate,
    certificate_plan: &mut CertificatePlan,
) -> bool {
    let name = &manager.name;
    let problem = match &external.managers {
        Some(known) if known.contains(name) => return true,
        Some(_) => (
            Reason::UnknownManager,
            format!("the settings of the controller (--notifications) name no manager {name}"),
        ),
        // A command, which has no managers, keeps what the controller reported.
        None => {
            let of_manager = [Reason::UnknownManager, Reason::NotFetched, Reason::NotPushed];
            match Condition::find(&certificate.status.conditions, ConditionType::Degraded) {
                Some(Condition { reason, message, .. }) if of_manager.contains(reason) => {
                    (*reason, message.clone())
                }
                _ => return false,
            }
        }
    };
    certificate_plan.problem.get_or_insert(problem);
    false
}
