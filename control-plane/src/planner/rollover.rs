//! One authority: whether it needs its first root, a new one, or a step of the rollover that is under
//! way; and which pods and certificates hold that step. No step is taken on trust: each waits for what
//! was seen in a handshake with every pod that mounts a Secret of this authority.

mod blocker;
mod request;

use std::time::{Duration, SystemTime};

pub use blocker::{Blocker, Member};
use blocker::{Step, without_the_expired};
use request::Requests;

use super::{Action, Plan, Transition};
use crate::api::date;
use crate::api::settings::{AuthoritySettings, CertificateSettings};
use crate::pki::keyring::{Phase, Rollover, RootId};
use crate::planner::observed::{Authority, KeyringState, KeyringView, Observed, Request};
use crate::planner::renewal_hint::RenewalHint;

/// How an authority stands, for its certificates and for its status.
#[derive(Debug)]
pub struct AuthorityPlan<'a> {
    pub authority: &'a Authority,
    pub settings: Result<AuthoritySettings, Vec<String>>,
    pub ring: Option<&'a KeyringView>,
    pub members: usize,
    /// When the root is due to be replaced.
    pub due: Option<SystemTime>,
    /// What holds the present step of a rollover.
    pub holds: Vec<Blocker>,
    /// Why nothing can be signed, or the root not be replaced.
    pub problem: Option<String>,
    /// A rollover was asked for while another is under way.
    pub queued: bool,
    /// Its first root is made now.
    pub creating: bool,
}

impl AuthorityPlan<'_> {
    /// Whether a leaf under this root may be published now: everybody is known to trust it.
    pub fn lets_out(&self, root: &RootId) -> bool {
        let Some(ring) = self.ring else { return false };
        match ring.state.rollover() {
            Some(rollover) if rollover.phase == Phase::Distributing => *root == rollover.from,
            Some(rollover) if rollover.phase == Phase::Reissuing && *root == rollover.to => {
                !self.holds.iter().any(|hold| hold.trust)
            }
            _ => ring.state.trusted().contains(&root),
        }
    }

    pub fn rollover(&self) -> Option<&Rollover> {
        self.ring.and_then(|ring| ring.state.rollover())
    }
}

pub fn plan<'a>(
    observed: &'a Observed,
    (name, authority): (&str, &'a Authority),
    settings: Result<AuthoritySettings, Vec<String>>,
    members: &[Member<'a>],
    now: SystemTime,
    plan: &mut Plan,
) -> AuthorityPlan<'a> {
    let mut authority_plan = AuthorityPlan {
        authority,
        settings,
        ring: None,
        members: members.len(),
        due: None,
        holds: Vec::new(),
        problem: None,
        queued: false,
        creating: false,
    };
    let transition = match (&authority.keyring, &authority_plan.settings) {
        (KeyringState::Unreadable(why), _) => {
            authority_plan.problem = Some(why.clone());
            None
        }
        (KeyringState::None, Err(_)) => None,
        (KeyringState::None, Ok(_)) if authority.deleting => None,
        (KeyringState::None, Ok(_)) if authority.status.root.is_some() => {
            authority_plan.problem = Some(LOST.into());
            None
        }
        (KeyringState::None, Ok(settings)) => create(authority, settings, &mut authority_plan.problem),
        (KeyringState::KeyringView(ring), settings) => {
            authority_plan.ring = Some(ring);
            if let Some(rollover) = ring.state.rollover() {
                let drain = settings.as_ref().map_or(Duration::MAX, |settings| settings.drain_deadline);
                let step = Step { observed, authority: name, rollover, drain, now };
                authority_plan.holds = step.holds(members, plan);
                if ring.roots.get(&rollover.from).is_some_and(|from| from.not_after <= now) {
                    without_the_expired(&mut authority_plan.holds, rollover.phase);
                }
            }
            if let Ok(settings) = settings {
                authority_plan.due = due(ring, settings, members);
            }
            next(&mut authority_plan, ring, now, plan)
        }
    };
    if let Some(why) = observed.failing.get(name) {
        authority_plan.problem.get_or_insert_with(|| why.clone());
    }
    if let Some(transition) = transition {
        authority_plan.creating = matches!(transition, Transition::Create { .. });
        let over = authority_plan.ring.map(|ring| ring.stamp.clone());
        plan.actions.push(Action::Authority { authority: name.to_owned(), transition, over });
    }
    authority_plan
}

fn create(
    authority: &Authority,
    settings: &AuthoritySettings,
    problem: &mut Option<String>,
) -> Option<Transition> {
    if let (Some(secret), Some(Err(why))) = (&settings.import, &authority.import) {
        *problem = Some(format!("the root cannot be imported from {secret}: {why}"));
        return None;
    }
    Some(Transition::Create { settings: Box::new(settings.clone()) })
}

/// So early that no leaf has to be cut short while the rollover takes its time.
fn due(ring: &KeyringView, settings: &AuthoritySettings, members: &[Member<'_>]) -> Option<SystemTime> {
    let root = ring.roots.get(ring.state.signing())?;
    let longest = members.iter().filter_map(|member| {
        let (_, version) = member.certificate.newest()?;
        version.leaf.not_after.duration_since(version.created_at).ok()
    });
    let longest = longest.max().unwrap_or_default().max(Duration::ZERO);
    // A leaf that was not made yet has the longest life that a spec may ask for.
    let longest = longest.max(longest_asked_for(settings, members)).min(settings.leaf_lifetime_max);
    root.not_after.checked_sub(longest + settings.rollover_allowance)
}

fn longest_asked_for(settings: &AuthoritySettings, members: &[Member<'_>]) -> Duration {
    let asked = |member: &Member<'_>| match member.certificate.spec.lifetime.as_deref() {
        Some(text) => humantime::parse_duration(text).unwrap_or_default(),
        None => CertificateSettings::default_lifetime(settings),
    };
    members.iter().map(asked).max().unwrap_or_else(|| CertificateSettings::default_lifetime(settings))
}

/// The one step that is to be taken now, if there is one. What people ask for goes first.
fn next(
    authority_plan: &mut AuthorityPlan<'_>,
    ring: &KeyringView,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Transition> {
    let requests = Requests { authority_plan, ring };
    if let Some(transition) = requests.remove().or_else(|| requests.reverse()).or_else(|| requests.exempt()) {
        return Some(transition);
    }
    let asked = requests.open("rollover").cloned();
    let Ok(settings) = &authority_plan.settings else {
        // What is under way is brought to its end all the same.
        return authority_plan.rollover().filter(|_| authority_plan.holds.is_empty()).map(advance);
    };
    let noticed = requests.open("renewal-hint").cloned();
    if let Some(rollover) = authority_plan.rollover() {
        let transition = authority_plan.holds.is_empty().then(|| advance(rollover));
        if let Some(Request { id, .. }) = asked.as_ref().filter(|_| rollover.reversed) {
            // Whoever turned it around does not want another one to begin as soon as it has ended.
            let outcome = "refused: a rollover is being reversed; ask again when that has ended".to_owned();
            return Some(Transition::Answer { verb: "rollover".to_owned(), request: id.clone(), outcome });
        }
        authority_plan.queued = asked.is_some();
        let nothing_to_do = |Request { id, .. }: Request| {
            let outcome = "nothing to do: the root is being replaced".to_owned();
            Transition::Answer { verb: "renewal-hint".to_owned(), request: id, outcome }
        };
        return transition.or_else(|| noticed.map(nothing_to_do));
    }
    let begin = |why: String, request: Option<(String, String)>| {
        Some(Transition::Begin { settings: Box::new(settings.clone()), why, request })
    };
    let imported = authority_plan.authority.import.as_ref();
    let is_new = successor(authority_plan.authority, ring);
    if let Some(Request { id, words }) = asked {
        if is_new {
            return begin(reason("asked for", &words), Some(("rollover".to_owned(), id)));
        }
        let (verb, outcome) = ("rollover".to_owned(), format!("refused: {STUCK}"));
        return Some(Transition::Answer { verb, request: id, outcome });
    }
    if let Some(Request { id, words }) = noticed {
        let verb = "renewal-hint".to_owned();
        let root = ring.roots.get(ring.state.signing());
        let obsolete = root.and_then(|root| {
            let asked = ring.state.has_rolled_over();
            RenewalHint::parse(&words).obsolete(&root.leaf(ring.state.signing()), root.not_before, asked, now)
        });
        let outcome = match obsolete {
            Some(why) => format!("nothing to do: {why}"),
            None if is_new => return begin(reason("noticed", &words), Some((verb, id))),
            None => format!("refused: {STUCK}"),
        };
        return Some(Transition::Answer { verb, request: id, outcome });
    }
    // One that was left before comes back when somebody asks for it, not by itself.
    let left = |root: &RootId| ring.state.rollover_history.iter().any(|past| past.rollover.from == *root);
    if is_new && imported.is_some_and(|root| root.as_ref().is_ok_and(|root| !left(root))) {
        return begin("another root is there to be imported".into(), None);
    }
    let due = authority_plan.due?;
    let end = ring.roots.get(ring.state.signing()).map(|root| root.not_after);
    if due > now {
        plan.wake(due);
        return None;
    }
    let ends = end.map(date::seconds).unwrap_or_default();
    if !settings.automatic_rollover {
        authority_plan.problem =
            Some(format!("the root expires at {ends}: roll it over, it is not done by itself"));
        None
    } else if !is_new {
        authority_plan.problem = Some(format!("the root expires at {ends}: {STUCK}"));
        None
    } else {
        begin(format!("the root expires at {ends}"), None)
    }
}

/// Another root in its place would cut off whoever trusts the old one alone.
const LOST: &str = "its keyring is gone (in a cluster, the Secret hotcert-ca-NAME): put it back from a backup. To begin \
                    anew under a root that no pod trusts yet, delete this CertificateAuthority and create it again";

const STUCK: &str = "the root is imported: put its successor into the Secret that spec.import names";

/// Whether there is another root to be had. One that was taken out by force is none.
fn successor(authority: &Authority, ring: &KeyringView) -> bool {
    let removed = |root: &RootId| {
        let mut past = ring.state.rollover_history.iter();
        past.any(|past| past.rollover.forced && past.rollover.from == *root)
    };
    match &authority.import {
        Some(Ok(root)) => !ring.roots.contains_key(root) && !removed(root),
        Some(Err(_)) => false,
        None => true,
    }
}

fn advance(rollover: &Rollover) -> Transition {
    Transition::Advance { out_of: rollover.phase }
}

fn reason(what: &str, words: &str) -> String {
    if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") }
}
