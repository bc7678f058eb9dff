//! One certificate: which version is to be served, whether it has to be made first, and whether the
//! Secret says so. The newest version is always the one to be served; a rollback makes a new version
//! out of an old one. So there is nothing to remember but the versions themselves, and whoever comes
//! after a crash goes on where it stopped.

mod rollback;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::rollover::AuthorityPlan;
use super::{Action, Plan, Why};
use crate::api::condition::Reason;
use crate::api::resource::ExternalSyncStatus;
use crate::api::settings::CertificateSettings;
use crate::pki::keyring::{Rollover, RootId};
use crate::planner::notifications::VERSION;
use crate::planner::observed::{Certificate, ObjectName, Publication, Published, Request, Version};
use crate::planner::renewal_hint::RenewalHint;

/// Versions beyond the history that are kept for those who could not be told of them yet.
const UNTOLD: usize = 20;

/// Where a certificate stands after this look.
#[derive(Debug, Default)]
pub struct CertificatePlan<'a> {
    /// What it is published as; `None` while its spec cannot be acted on.
    pub secret: Option<&'a str>,
    /// What is published is what is to be served.
    pub settled: bool,
    pub renew_at: Option<SystemTime>,
    /// Why it is not ready, or not quite: a word and a sentence.
    pub problem: Option<(Reason, String)>,
    /// A rollback that was refused: its id and why.
    pub refused: Option<(String, String)>,
    /// Requests of which nothing follows, by verb: their ids.
    pub obsolete: Vec<(&'static str, String)>,
    /// What its manager is known to have.
    pub imported: Option<ExternalSyncStatus>,
    /// Something is done about it now, after which there is more to say.
    pub acting: bool,
}

pub fn plan<'a>(
    name: &ObjectName,
    certificate: &Certificate,
    settings: Option<&'a Result<CertificateSettings, Vec<String>>>,
    authority_plan: Option<&AuthorityPlan<'_>>,
    now: SystemTime,
    plan: &mut Plan,
) -> CertificatePlan<'a> {
    let valid = settings.and_then(|settings| settings.as_ref().ok());
    let renew_before = valid.map(|settings| settings.renew_before);
    let mut certificate_plan = CertificatePlan {
        secret: valid.map(|settings| settings.secret_name.as_str()),
        renew_at: certificate.newest().map(|(_, version)| renew_at(version, renew_before)),
        problem: obstacle(certificate),
        ..CertificatePlan::default()
    };
    if certificate_plan.problem.is_some() {
        return certificate_plan;
    }
    let Some(authority_plan) = authority_plan else {
        let authority = &certificate.spec.authority;
        certificate_plan.problem =
            Some((Reason::AuthorityNotFound, format!("there is no CertificateAuthority {authority:?}")));
        return certificate_plan;
    };
    if let Some(Err(wrong)) = settings {
        certificate_plan.problem = Some((Reason::InvalidSpec, wrong.join("; ")));
    } else if let Err(wrong) = &authority_plan.settings {
        let authority = &certificate.spec.authority;
        let said = format!("the spec of the authority {authority} is invalid: {}", wrong.join("; "));
        certificate_plan.problem = Some((Reason::InvalidAuthority, said));
    }
    let Some(ring) = authority_plan.ring else {
        if authority_plan.creating {
            certificate_plan.acting = true;
            return certificate_plan;
        }
        let said = format!("the authority {} has no root yet", certificate.spec.authority);
        certificate_plan.problem.get_or_insert((Reason::RootNotReady, said));
        return certificate_plan;
    };
    let signing = ring.state.signing();
    let root = ring.roots.get(signing);
    let alive = root.is_some_and(|root| root.not_before <= now && now < root.not_after);

    let root_end = root.map_or(now, |root| root.not_after);
    let again = ring.state.rollover().filter(|rollover| rollover.is_redistributing());
    let step = Step { name, certificate, now };
    let under = Under { step: &step, signing, root_end, again };
    if let (Some(notice), Some((_, newest))) = (step.open("renewal-hint"), certificate.newest()) {
        let hint = RenewalHint::parse(&notice.words);
        // A leaf that ends with its root gains nothing by being made anew.
        let is_last = newest.leaf.not_after >= root_end;
        let asked = newest.request.is_some();
        if is_last || hint.obsolete(&newest.leaf, newest.created_at, asked, now).is_some() {
            certificate_plan.obsolete.push(("renewal-hint", notice.id.clone()));
        }
    }
    if let (Some(settings), true) = (valid, alive) {
        let rollback = step.rollback(&settings.digest(), |of, version| under.trust(of, version));
        if let Some(Err((id, why))) = &rollback {
            certificate_plan.refused = Some((id.clone(), why.clone()));
        }
        let obsolete = !certificate_plan.obsolete.is_empty();
        if let Some(action) = rollback.and_then(Result::ok).or_else(|| under.issue(settings, obsolete)) {
            plan.actions.push(action);
            certificate_plan.acting = true;
            // Published at the next look: a crash in between loses nothing.
            return certificate_plan;
        }
    } else if !alive {
        certificate_plan.problem.get_or_insert((
            Reason::RootExpired,
            "the authority's root is not valid at this time: roll it over, or look at the clock".into(),
        ));
    }
    // What is due and not done is held up by something: whatever that is wakes the loop when it ends.
    if let Some(at) = certificate_plan.renew_at.filter(|at| *at > now) {
        plan.wake(at);
    }
    under.publish(authority_plan, &mut certificate_plan, plan);
    if let (Some(settings), true) = (valid, certificate_plan.settled) {
        step.prune(settings.history, None, plan);
    }
    certificate_plan
}

/// What keeps anything from being done about it.
pub(super) fn obstacle(certificate: &Certificate) -> Option<(Reason, String)> {
    if certificate.deleting {
        return Some((Reason::Deleting, "it is being deleted; its Secret stays".into()));
    }
    match &certificate.published {
        Published::Foreign(whose) => {
            let said =
                format!("its Secret exists and {whose}: name another secretName, or delete that Secret");
            Some((Reason::ForeignSecret, said))
        }
        Published::Closed(why) => Some((Reason::NoAccess, why.clone())),
        Published::Absent | Published::Ours(_) => None,
    }
}

pub(super) struct Step<'a> {
    pub name: &'a ObjectName,
    pub certificate: &'a Certificate,
    pub now: SystemTime,
}

/// Signed here.
struct Under<'a> {
    step: &'a Step<'a>,
    signing: &'a RootId,
    /// When the root that signs expires.
    root_end: SystemTime,
    /// A rollover that makes a root known that had begun to go.
    again: Option<&'a Rollover>,
}

impl Step<'_> {
    pub fn next_version(&self) -> u64 {
        // After a loss of the history the numbers go on where the status says they were.
        let known = self.certificate.status.version.and_then(|version| u64::try_from(version).ok());
        let newest = self.certificate.newest().map_or(0, |(number, _)| number);
        newest.max(known.unwrap_or(0)).saturating_add(1)
    }

    /// The request, if a version answers to it no more than the status does.
    pub fn open(&self, verb: &str) -> Option<&Request> {
        let request = self.certificate.requests.get(verb)?;
        let answered = self.certificate.status.handled_requests.as_ref();
        let answered = answered.and_then(|answered| match verb {
            "rotate" => answered.rotate.as_deref(),
            "renewal-hint" => answered.renewal_hint.as_deref(),
            _ => answered.rollback.as_deref(),
        });
        let done = || self.certificate.versions.values().any(|version| answers(version, verb, &request.id));
        (answered != Some(&request.id) && !done()).then_some(request)
    }

    /// Grows with every writing, also when the Secret and all that is known of it were lost: then the
    /// clock is what has grown.
    pub fn next_revision(&self, before: Option<&Publication>) -> u64 {
        let known = self.certificate.status.revision.and_then(|revision| u64::try_from(revision).ok());
        let before = before.map_or(0, |publication| publication.revision).max(known.unwrap_or(0));
        let clock = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        // Milliseconds: nothing is written twice within one, so that the clock is never behind.
        before.saturating_add(1).max(u64::try_from(clock).unwrap_or(u64::MAX))
    }

    /// `spare`: a version that is kept whatever its age.
    pub fn prune(&self, history: usize, spare: Option<u64>, plan: &mut Plan) {
        let versions = &self.certificate.versions;
        let many = versions.len().saturating_sub(history);
        // What somebody is still to be told of is kept for a while longer.
        let told = self
            .certificate
            .status
            .last_notified
            .values()
            .filter_map(|told| told.get(VERSION)?.parse().ok())
            .min();
        let is_told = |number: u64| told.is_none_or(|told: u64| number <= told);
        // What a rollback went back to is kept as long as it is served: its copy says so.
        plan.actions.extend(
            versions
                .keys()
                .take(many)
                .enumerate()
                .filter(|(_, version)| Some(**version) != spare)
                .filter(|(index, version)| is_told(**version) || index + UNTOLD < many)
                .map(|(_, version)| Action::Prune { certificate: self.name.clone(), version: *version }),
        );
    }
}

impl Under<'_> {
    /// Why a version may not be gone back to: today's trust rejects it, or is about to.
    fn trust(&self, of: u64, version: &Version) -> Result<(), String> {
        let root = &version.root;
        if root != self.signing {
            return Err(format!(
                "version {of} is under the root {root}, which today's trust rejects or is about to"
            ));
        }
        if self.again.is_some() {
            return Err("a rollover was turned around: wait until the old root is known again".into());
        }
        Ok(())
    }

    /// While a root is made known again, what pods show has to be told apart from what they showed before
    /// it began to go: by a leaf that was made since.
    fn is_to_be_told_apart(&self, newest: &Version) -> bool {
        self.again.is_some_and(|rollover| !rollover.is_since(newest) && self.step.now >= rollover.started_at)
    }

    fn issue(&self, settings: &CertificateSettings, is_obsolete: bool) -> Option<Action> {
        let rotate = self.step.open("rotate");
        let notice = self.step.open("renewal-hint").filter(|_| !is_obsolete);
        let why = match self.step.certificate.newest() {
            None => Why::First,
            Some((_, version)) if version.root != *self.signing => Why::Root,
            Some((_, version)) if self.is_to_be_told_apart(version) => Why::Root,
            Some((_, version)) if version.made_for != settings.digest() => Why::Changed,
            // A leaf that ends with its root gains nothing by being made anew.
            Some((_, version))
                if self.step.now >= renew_at(version, Some(settings.renew_before))
                    && version.leaf.not_after < self.root_end =>
            {
                Why::Renewal
            }
            Some(_) if rotate.is_some() => Why::Asked,
            Some(_) if notice.is_some() => Why::Noticed,
            Some(_) => return None,
        };
        Some(Action::Issue {
            certificate: self.step.name.clone(),
            version: self.step.next_version(),
            settings: Box::new(settings.clone()),
            request: rotate.or(notice).map(|request| request.id.clone()),
            why,
        })
    }

    fn publish(
        &self,
        authority_plan: &AuthorityPlan<'_>,
        certificate_plan: &mut CertificatePlan<'_>,
        plan: &mut Plan,
    ) {
        let (Some((number, version)), Some(ring)) = (self.step.certificate.newest(), authority_plan.ring)
        else {
            return;
        };
        let roots: Vec<RootId> = ring.state.trusted().into_iter().cloned().collect();
        if !roots.contains(&version.root) {
            // Its own bundle would reject it; what keeps it from being issued anew is said elsewhere.
            return;
        }
        let wanted: BTreeSet<_> = roots.iter().cloned().collect();
        let before = match &self.step.certificate.published {
            Published::Ours(publication) => Some(publication),
            _ => None,
        };
        let same = |publication: &&Publication| {
            publication.fingerprint == version.fingerprint && publication.roots == wanted
        };
        if before.as_ref().is_some_and(same) {
            certificate_plan.settled = true;
            return;
        }
        let waits = !authority_plan.lets_out(&version.root);
        let meanwhile = if waits { self.meanwhile(authority_plan) } else { None };
        // Without anything valid to serve meanwhile there is nothing to be gained by waiting: nobody lets
        // in an expired leaf, and whose pods cannot prove anything any more would wait for ever.
        let (number, version) = if let Some((number, served)) = meanwhile {
            certificate_plan.problem.get_or_insert((
                Reason::WaitingForTrust,
                "its new leaf waits until every pod is known to trust the new root".into(),
            ));
            if before.is_some_and(|before| before.fingerprint == served.fingerprint && before.roots == wanted)
            {
                return;
            }
            (number, served)
        } else {
            (number, version)
        };
        if waits && meanwhile.is_none() && version.root != *self.signing {
            return;
        }
        if self.step.now >= version.leaf.not_after {
            return;
        }
        let known = || self.step.certificate.status.secret_name.as_deref();
        let Some(secret) = certificate_plan.secret.or_else(known) else { return };
        certificate_plan.acting = true;
        plan.actions.push(Action::Publish {
            certificate: self.step.name.clone(),
            secret: secret.to_owned(),
            version: number,
            roots,
            revision: self.step.next_revision(before),
            over: before.map(|before| before.stamp.clone()),
        });
    }

    /// What is served while the newest version may not be: what is published, or else, to bring a Secret
    /// back, the latest that everybody is known to trust.
    fn meanwhile(&self, authority_plan: &AuthorityPlan<'_>) -> Option<(u64, &Version)> {
        let trusted = authority_plan.ring?.state.trusted();
        let valid = |version: &Version| self.step.now < version.leaf.not_after;
        let served = |(_, version): &(u64, &Version)| valid(version) && trusted.contains(&&version.root);
        self.step.certificate.published_version().filter(served).or_else(|| {
            let mut latest = self.step.certificate.versions.iter().rev();
            let fits = |version: &Version| valid(version) && authority_plan.lets_out(&version.root);
            latest.find(|(_, version)| fits(version)).map(|(number, version)| (*number, version.as_ref()))
        })
    }
}

/// Whether this version is what came of that request.
pub(super) fn answers(version: &Version, verb: &str, id: &str) -> bool {
    version.request.as_deref() == Some(id) && version.copy_of.is_some() == (verb == "rollback")
}

/// A third of its life before its end, or what the spec says; up to a tenth of its life earlier, so
/// that what was issued together is not renewed together.
pub(super) fn renew_at(version: &Version, before: Option<Duration>) -> SystemTime {
    let Version { leaf, created_at, copy_of, .. } = version;
    // Without what it was backdated by: of a short life that may be most.
    let life = leaf.not_after.duration_since(*created_at).unwrap_or_default();
    let before = before.unwrap_or(life / 3);
    let digits = leaf.sha256.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let jitter = life.mul_f64(f64::from(digits) / f64::from(u32::MAX) / 10.0);
    let due = leaf.not_after.checked_sub(before.saturating_add(jitter)).unwrap_or(*created_at);
    // It is used at all, whatever the spec asks for.
    let due = due.max(created_at.checked_add(life / 20).unwrap_or(due));
    // What somebody went back to is meant to be served for a while.
    if copy_of.is_some() { due.max(renew_at_latest(version)) } else { due }
}

/// A tenth of its life before its end.
fn renew_at_latest(version: &Version) -> SystemTime {
    version.leaf.not_after.checked_sub(life(version) / 10).unwrap_or(version.leaf.not_after)
}

fn life(version: &Version) -> Duration {
    version.leaf.not_after.duration_since(version.leaf.not_before).unwrap_or_default()
}
