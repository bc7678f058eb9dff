//! Certificates that a manager outside keeps as well. One that names an authority is signed here, and what is
//! published is pushed to the manager afterwards, so that a failed publishing changes nothing there. One that
//! names none is made by the manager: it is looked at now and then, and whenever somebody says that it changed,
//! and what is new there is kept as a version and published like any other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotcert_agent::tls::hex::sha256_hex;

use super::lifecycle::{CertificatePlan, Step, obstacle};
use super::{Action, Plan};
use crate::api::condition::{Condition, ConditionType, Reason};
use crate::api::date;
use crate::api::resource::{ExternalSyncStatus, ManagerRef};
use crate::api::settings::{CertificateSettings, FetchedSettings};
use crate::planner::observed::{Certificate, ExternalState, ObjectName, Published, Version};
use crate::planner::outbox::Key;

/// Between two looks at a certificate that nobody said anything about.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Something to be done with a manager.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncTask {
    pub certificate: ObjectName,
    pub with: ManagerRef,
    pub task: SyncAction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SyncAction {
    /// For this request, or this hour.
    Fetch { occasion: Trigger },
    /// The version with this leaf.
    Push { version: u64, sha256: String },
}

impl SyncTask {
    /// Where it leads, and what it is.
    pub fn key(&self) -> Key {
        let Self { certificate, with, task } = self;
        let what = match task {
            SyncAction::Fetch { occasion: Trigger::Asked(id) } => id,
            // One that is not done within its hour is the same in the next.
            SyncAction::Fetch { occasion: Trigger::Hour(_) } => "now and then",
            SyncAction::Push { sha256, .. } => sha256,
        };
        (with.name.clone(), format!("{} {certificate} {} {what}", task.as_str(), with.id))
    }
}

/// What it is fetched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The id of a request.
    Asked(String),
    /// Which since 1970.
    Hour(u64),
}

impl SyncAction {
    /// The word for it in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Push { .. } => "push",
        }
    }
}

/// One that is made by its manager.
pub fn fetched<'a>(
    outside: &ExternalState,
    name: &ObjectName,
    certificate: &Certificate,
    settings: &'a Result<FetchedSettings, Vec<String>>,
    now: SystemTime,
    plan: &mut Plan,
) -> CertificatePlan<'a> {
    let mut certificate_plan =
        CertificatePlan { problem: obstacle(certificate), ..CertificatePlan::default() };
    let settings = match settings {
        Ok(settings) => settings,
        Err(wrong) => {
            certificate_plan.problem.get_or_insert_with(|| (Reason::InvalidSpec, wrong.join("; ")));
            return certificate_plan;
        }
    };
    certificate_plan.secret = Some(&settings.secret_name);
    if certificate_plan.problem.is_some() {
        return certificate_plan;
    }
    let step = Step { name, certificate, now };
    let newest = certificate.newest();
    let rollback = step.rollback(&settings.digest(), |of, version| trusted(of, version, newest));
    if let Some(Err((id, why))) = &rollback {
        certificate_plan.refused = Some((id.clone(), why.clone()));
    }
    let next =
        rollback.and_then(Result::ok).or_else(|| look(outside, &step, settings, &mut certificate_plan, plan));
    if let Some(action) = next {
        plan.actions.push(action);
        certificate_plan.acting = true;
        return certificate_plan;
    }
    publish(&step, settings, &mut certificate_plan, plan);
    if certificate_plan.settled {
        // By it is known what is new.
        step.prune(settings.history, certificate.latest_made().map(|(latest, _)| latest), plan);
    }
    certificate_plan
}

/// Whether the manager has something new; and when to ask it again.
fn look(
    outside: &ExternalState,
    step: &Step<'_>,
    settings: &FetchedSettings,
    certificate_plan: &mut CertificatePlan<'_>,
    plan: &mut Plan,
) -> Option<Action> {
    let from = &settings.manager;
    if !is_known(outside, from, step.certificate, certificate_plan) {
        if step.certificate.versions.is_empty() {
            let said = "the controller fetches it: one has to run, with this manager in its --notifications";
            certificate_plan.problem.get_or_insert((Reason::WaitingForManager, said.into()));
        }
        return None;
    }
    let asked =
        ["rotate", "renewal-hint"].into_iter().find_map(|verb| Some((verb, step.open(verb)?.id.clone())));
    let (hour, next) = hour(step.name, step.now);
    plan.wake(next);
    let occasion = asked.as_ref().map_or(Trigger::Hour(hour), |(_, id)| Trigger::Asked(id.clone()));
    let fetched = outside.fetched.get(step.name).filter(|fetched| fetched.from == *from);
    let is_answer = fetched.is_some_and(|fetched| fetched.occasion == occasion);
    if !is_answer {
        let task = SyncTask {
            certificate: step.name.clone(),
            with: from.clone(),
            task: SyncAction::Fetch { occasion },
        };
        if let Some(why) = outside.failing.get(&task.key()) {
            certificate_plan.problem = Some((Reason::NotFetched, why.clone()));
        }
        plan.sync_tasks.push(task);
    }
    let fetched = fetched?;
    let asked = asked.filter(|_| is_answer);
    if fetched.is_known(step.certificate) {
        certificate_plan.obsolete.extend(asked);
        return None;
    }
    Some(Action::Keep {
        certificate: step.name.clone(),
        version: step.next_version(),
        fingerprint: fetched.fingerprint,
        made_for: settings.digest(),
        request: asked.map(|(_, id)| id),
    })
}

/// Which hour it is for this certificate, and when the next one begins: of those that came together, not all
/// are looked at together.
fn hour(name: &ObjectName, now: SystemTime) -> (u64, SystemTime) {
    let digits = sha256_hex(name.to_string().as_bytes());
    let part = u32::from_str_radix(&digits[..8], 16).unwrap_or(0);
    // Whole minutes, so that many are looked at in one round.
    let minutes = LOOK.as_secs() / 60;
    let shift = Duration::from_secs(60 * (u64::from(part) * minutes / (u64::from(u32::MAX) + 1)));
    let hours = (now.duration_since(UNIX_EPOCH).unwrap_or_default() + shift).as_secs() / LOOK.as_secs();
    let next = UNIX_EPOCH + Duration::from_secs((hours + 1) * LOOK.as_secs()) - shift;
    (hours, next)
}

/// Why a version may not be gone back to: the roots of today have nothing to do with it.
fn trusted(of: u64, version: &Version, newest: Option<(u64, &Version)>) -> Result<(), String> {
    let roots = newest.and_then(|(_, newest)| newest.roots.as_ref());
    match roots {
        Some(roots) if !roots.contains(&version.root) => {
            Err(format!("version {of} is under the root {}, which today's trust rejects", version.root))
        }
        _ => Ok(()),
    }
}

fn publish(
    step: &Step<'_>,
    settings: &FetchedSettings,
    certificate_plan: &mut CertificatePlan<'_>,
    plan: &mut Plan,
) {
    let Some((number, version)) = step.certificate.newest() else { return };
    // One that was signed here, before its spec was changed, makes way for the first that is fetched.
    let Some(roots) = &version.roots else { return };
    let before = match &step.certificate.published {
        Published::Ours(publication) => Some(publication),
        _ => None,
    };
    if before.is_some_and(|before| before.fingerprint == version.fingerprint && before.roots == *roots) {
        certificate_plan.settled = true;
        return;
    }
    if step.now >= version.leaf.not_after {
        return;
    }
    certificate_plan.acting = true;
    plan.actions.push(Action::Publish {
        certificate: step.name.clone(),
        secret: settings.secret_name.clone(),
        version: number,
        roots: roots.iter().cloned().collect(),
        revision: step.next_revision(before),
        over: before.map(|before| before.stamp.clone()),
    });
}

/// One that is signed here: what is published is owed to its manager.
pub fn pushed(
    outside: &ExternalState,
    step: &Step<'_>,
    settings: &CertificateSettings,
    certificate_plan: &mut CertificatePlan<'_>,
    plan: &mut Plan,
) {
    let Some(with) = &settings.manager else { return };
    let Step { name, certificate, now } = *step;
    let (true, Some((number, version))) = (certificate_plan.settled, certificate.published_version()) else {
        return;
    };
    let sha256 = &version.leaf.sha256;
    let is_there = |imported: &ExternalSyncStatus| {
        imported.manager == with.name && imported.id == with.id && imported.sha256 == *sha256
    };
    if certificate_plan.imported.as_ref().is_some_and(is_there)
        || !is_known(outside, with, certificate, certificate_plan)
    {
        return;
    }
    let task = SyncAction::Push { version: number, sha256: sha256.clone() };
    let task = SyncTask { certificate: name.clone(), with: with.clone(), task };
    let key = task.key();
    // Also what is done: it is remembered until it is written down.
    plan.sync_tasks.push(task);
    if outside.done.contains(&key) {
        certificate_plan.imported = Some(ExternalSyncStatus {
            manager: with.name.clone(),
            id: with.id.clone(),
            version: i64::try_from(number).unwrap_or(i64::MAX),
            sha256: sha256.clone(),
            synced_at: date::seconds(now),
        });
    } else if let Some(why) = outside.failing.get(&key) {
        certificate_plan.problem.get_or_insert_with(|| (Reason::NotPushed, why.clone()));
    }
}

/// Whether anything can be done with this manager here.
fn is_known(
    outside: &ExternalState,
    manager: &ManagerRef,
    certificate: &Certificate,
    certificate_plan: &mut CertificatePlan<'_>,
) -> bool {
    let name = &manager.name;
    let problem = match &outside.managers {
        Some(known) if known.contains(name) => return true,
        Some(_) => (
            Reason::UnknownManager,
            format!("the settings of the controller (--notifications) name no manager {name}"),
        ),
        // Whoever does know managers says how it stands.
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
