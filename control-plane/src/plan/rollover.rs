//! One authority: whether it needs its first root, a new one, or a step of the rollover that is under
//! way; and which pods and certificates hold that step. No step is taken on trust: each waits for what
//! was seen in a handshake with every pod that mounts a Secret of this authority.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Action, Plan, Prove, Turn};
use crate::keyring::{Phase, Rollover, RootId};
use crate::observed::{
    Authority, Certificate, Held, ObjectName, Observed, Pod, Published, Request, Ring, Shown,
};
use crate::settings::{AuthoritySettings, CertificateSettings};

/// How an authority stands, for its certificates and for its status.
#[derive(Debug)]
pub struct Standing<'a> {
    pub authority: &'a Authority,
    pub settings: Result<AuthoritySettings, Vec<String>>,
    pub ring: Option<&'a Ring>,
    pub members: usize,
    /// When the root is due to be replaced.
    pub due: Option<SystemTime>,
    /// What holds the present step of a rollover.
    pub holds: Vec<Hold>,
    /// Why nothing can be signed, or the root not be replaced.
    pub problem: Option<String>,
    /// A rollover was asked for while another is under way.
    pub queued: bool,
}

/// Somebody who holds a step, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Pod or certificate, NAMESPACE/NAME.
    pub who: String,
    /// Of a pod; empty otherwise.
    pub uid: String,
    pub why: String,
    /// It is not known to trust the new root: no leaf under that may be published.
    pub trust: bool,
}

/// A member and the Secret it is published as.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub name: &'a ObjectName,
    pub certificate: &'a Certificate,
    pub secret: &'a str,
}

impl Standing<'_> {
    /// Whether a leaf under this root may be published now.
    pub fn lets_out(&self, root: &RootId) -> bool {
        let Some(ring) = self.ring else { return false };
        match ring.state.rollover() {
            Some(rollover)
                if !rollover.forced && rollover.phase == Phase::Reissuing && *root == rollover.to =>
            {
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
    name: &str,
    authority: &'a Authority,
    settings: Result<AuthoritySettings, Vec<String>>,
    members: &[Member<'a>],
    now: SystemTime,
    plan: &mut Plan,
) -> Standing<'a> {
    let mut standing = Standing {
        authority,
        settings,
        ring: None,
        members: members.len(),
        due: None,
        holds: Vec::new(),
        problem: None,
        queued: false,
    };
    let turn = match (&authority.keyring, &standing.settings) {
        (Held::Unreadable(why), _) => {
            standing.problem = Some(why.clone());
            None
        }
        (Held::None, Err(_)) => None,
        (Held::None, Ok(_)) if authority.deleting => None,
        (Held::None, Ok(settings)) => create(authority, settings, &mut standing.problem),
        (Held::Ring(ring), settings) => {
            standing.ring = Some(ring);
            if let Some(rollover) = ring.state.rollover() {
                let drain = settings.as_ref().map_or(Duration::MAX, |settings| settings.drain_deadline);
                let step = Step { observed, authority: name, rollover, drain, now };
                standing.holds = step.holds(members, plan);
            }
            if let Ok(settings) = settings {
                standing.due = due(ring, settings, members);
            }
            next(&mut standing, ring, now, plan)
        }
    };
    if let Some(turn) = turn {
        let over = standing.ring.map(|ring| ring.stamp.clone());
        plan.actions.push(Action::Authority { authority: name.to_owned(), turn, over });
    }
    standing
}

fn create(authority: &Authority, settings: &AuthoritySettings, problem: &mut Option<String>) -> Option<Turn> {
    if let (Some(secret), Some(Err(why))) = (&settings.import, &authority.import) {
        *problem = Some(format!("the root cannot be imported from {secret}: {why}"));
        return None;
    }
    Some(Turn::Create { settings: Box::new(settings.clone()) })
}

/// So early that no leaf has to be cut short while the rollover takes its time.
fn due(ring: &Ring, settings: &AuthoritySettings, members: &[Member<'_>]) -> Option<SystemTime> {
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
fn next(standing: &mut Standing<'_>, ring: &Ring, now: SystemTime, plan: &mut Plan) -> Option<Turn> {
    let requests = Requests { standing, ring };
    if let Some(turn) = requests.remove().or_else(|| requests.reverse()).or_else(|| requests.exempt()) {
        return Some(turn);
    }
    let asked = requests.open("rollover").cloned();
    let Ok(settings) = &standing.settings else {
        // What is under way is brought to its end all the same.
        return standing.rollover().filter(|_| standing.holds.is_empty()).map(advance);
    };
    if let Some(rollover) = standing.rollover() {
        let turn = standing.holds.is_empty().then(|| advance(rollover));
        standing.queued = asked.is_some();
        return turn;
    }
    let begin = |why: String, request: Option<String>| {
        Some(Turn::Begin { settings: Box::new(settings.clone()), why, request })
    };
    let imported = standing.authority.import.as_ref();
    let is_new = match imported {
        Some(Ok(root)) => !ring.roots.contains_key(root),
        Some(Err(_)) => false,
        None => true,
    };
    let stuck = "the root is imported: put its successor into the Secret that spec.import names";
    if let Some(Request { id, words }) = asked {
        if is_new {
            return begin(reason("asked for", &words), Some(id));
        }
        let (verb, outcome) = ("rollover".to_owned(), stuck.to_owned());
        return Some(Turn::Answer { verb, request: id, outcome });
    }
    if imported.is_some() && is_new {
        return begin("another root is there to be imported".into(), None);
    }
    let due = standing.due?;
    let end = ring.roots.get(ring.state.signing()).map(|root| root.not_after);
    if due > now {
        plan.wake(due);
        return None;
    }
    let ends = end.map(|end| humantime::format_rfc3339_seconds(end).to_string()).unwrap_or_default();
    if !settings.automatic_rollover {
        standing.problem =
            Some(format!("the root expires at {ends}: roll it over, it is not done by itself"));
        None
    } else if !is_new {
        standing.problem = Some(format!("the root expires at {ends}: {stuck}"));
        None
    } else {
        begin(format!("the root expires at {ends}"), None)
    }
}

fn advance(rollover: &Rollover) -> Turn {
    Turn::Advance { out_of: rollover.phase }
}

fn reason(what: &str, words: &str) -> String {
    if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") }
}

/// What people ask of an authority besides a rollover.
struct Requests<'s, 'a> {
    standing: &'s Standing<'a>,
    ring: &'s Ring,
}

impl Requests<'_, '_> {
    /// A request that was not answered yet.
    fn open(&self, verb: &str) -> Option<&Request> {
        let request = self.standing.authority.requests.get(verb)?;
        (!self.ring.state.is_answered(verb, &request.id)).then_some(request)
    }

    fn remove(&self) -> Option<Turn> {
        let Request { id, words } = self.open("remove-root")?;
        let answer =
            |outcome: String| Some(Turn::Answer { verb: "remove-root".into(), request: id.clone(), outcome });
        let (prefix, why) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let found: Vec<_> = self.ring.roots.keys().filter(|root| root.0.starts_with(prefix)).collect();
        let settings = match &self.standing.settings {
            Ok(settings) => settings,
            Err(wrong) => return answer(format!("refused: the spec is wrong: {}", wrong.join("; "))),
        };
        match found.as_slice() {
            _ if prefix.len() < 8 => answer("refused: give at least 8 digits of the root's SHA-256".into()),
            [root] if self.ring.state.needed().contains(root) => Some(Turn::Remove {
                settings: Box::new(settings.clone()),
                root: (*root).clone(),
                why: reason("removed at once", why),
                request: id.clone(),
            }),
            _ => answer(format!("refused: there is no root {prefix}")),
        }
    }

    fn reverse(&self) -> Option<Turn> {
        let Request { id, words } = self.open("reverse")?;
        match self.ring.state.rollover() {
            Some(rollover) if !rollover.forced => {
                Some(Turn::Reverse { why: reason("reversed", words), request: id.clone() })
            }
            under_way => {
                let outcome = match under_way {
                    Some(_) => "refused: a root that was removed at once does not come back",
                    None => "refused: no rollover is under way",
                };
                Some(Turn::Answer { verb: "reverse".into(), request: id.clone(), outcome: outcome.into() })
            }
        }
    }

    fn exempt(&self) -> Option<Turn> {
        let Request { id, words } = self.open("override")?;
        let (named, why) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let mut pods = Vec::new();
        let mut strangers = Vec::new();
        for pod in named.split(',') {
            match self.standing.holds.iter().find(|hold| hold.who == pod) {
                Some(hold) => pods.push((hold.who.clone(), hold.uid.clone())),
                None => strangers.push(pod),
            }
        }
        let refused = if self.ring.state.rollover().is_none() {
            "refused: no rollover is under way".to_owned()
        } else if why.is_empty() {
            "refused: give a reason, it is recorded".to_owned()
        } else if !strangers.is_empty() {
            format!("refused: no pod of that name holds the step: {}", strangers.join(", "))
        } else {
            return Some(Turn::Exempt { pods, reason: why.trim().to_owned(), request: id.clone() });
        };
        Some(Turn::Answer { verb: "override".into(), request: id.clone(), outcome: refused })
    }
}

/// The step that a rollover is at.
struct Step<'a> {
    observed: &'a Observed,
    authority: &'a str,
    rollover: &'a Rollover,
    drain: Duration,
    now: SystemTime,
}

impl Step<'_> {
    /// Everybody who holds it. Pods that may have something new to show are asked again.
    fn holds(&self, members: &[Member<'_>], plan: &mut Plan) -> Vec<Hold> {
        let mut holds = Vec::new();
        let mut by_secret: BTreeMap<(&str, &str), &Member<'_>> = BTreeMap::new();
        for member in members {
            holds.extend(self.certificate(member));
            if matches!(member.certificate.published, Published::Ours(_)) {
                plan.look.insert(member.name.namespace.clone());
                by_secret.insert((&member.name.namespace, member.secret), member);
            }
        }
        let mut namespaces: Vec<&str> = by_secret.keys().map(|(namespace, _)| *namespace).collect();
        namespaces.dedup();
        for namespace in namespaces {
            match self.observed.pods.get(namespace) {
                Some(look) if look.problem.is_none() && look.at >= self.rollover.began => {}
                look => {
                    let why = look.and_then(|look| look.problem.clone());
                    let why = why.unwrap_or_else(|| "its pods have not been listed yet".into());
                    let who = format!("namespace {namespace}");
                    holds.push(Hold { who, uid: String::new(), why, trust: true });
                }
            }
            for pod in self.observed.pods_of(namespace) {
                for secret in &pod.mounts {
                    if let Some(member) = by_secret.get(&(namespace, secret)) {
                        holds.extend(self.pod(namespace, pod, member, plan));
                    }
                }
            }
        }
        holds
    }

    /// What is published, before what is served. A certificate that was never published holds nobody.
    fn certificate(&self, member: &Member<'_>) -> Option<Hold> {
        let Rollover { to, phase, .. } = self.rollover;
        let Published::Ours(publication) = &member.certificate.published else { return None };
        let under_new =
            || member.certificate.published_version().is_some_and(|(_, version)| version.root == *to);
        let why = match phase {
            Phase::Distributing if !publication.roots.contains(to) => {
                "its Secret has not been written with the new root yet"
            }
            Phase::Reissuing | Phase::Retiring if !under_new() => {
                "its Secret has no leaf under the new root yet"
            }
            Phase::Retiring if publication.roots.iter().any(|root| root != to) => {
                "its Secret has not been written without the old root yet"
            }
            _ => return None,
        };
        let trust = !publication.roots.contains(to);
        Some(Hold { who: member.name.to_string(), uid: String::new(), why: why.into(), trust })
    }

    fn pod(&self, namespace: &str, pod: &Pod, member: &Member<'_>, plan: &mut Plan) -> Option<Hold> {
        let Rollover { to, from, phase, began, .. } = self.rollover;
        if self.rollover.is_exempt(&pod.uid) {
            return None;
        }
        let hold = |why: String, trust: bool| {
            Some(Hold { who: format!("{namespace}/{}", pod.name), uid: pod.uid.clone(), why, trust })
        };
        let Some(agent) = pod.agent.as_ref().filter(|_| pod.serves(member.secret)) else {
            return hold(
                format!(
                    "it mounts {} without an agent, so nothing can be seen of what it serves",
                    member.secret
                ),
                true,
            );
        };
        if agent.address.is_none() {
            return hold("it has no address yet".into(), true);
        }
        let proof = pod.proof.as_ref().filter(|proof| proof.at >= *began);
        let held = match proof.map(|proof| &proof.shown) {
            None => hold("it has not been asked yet".into(), true),
            Some(Err(why)) => hold(why.clone(), true),
            Some(Ok(shown)) => self.shown(member, shown, plan).and_then(|(why, trust)| hold(why, trust)),
        }?;
        let roots = match phase {
            Phase::Distributing | Phase::Reissuing => vec![to.clone()],
            Phase::Retiring => vec![to.clone(), from.clone()],
        };
        plan.prove.push(Prove {
            pod: ObjectName::new(namespace, pod.name.clone()),
            uid: pod.uid.clone(),
            authority: self.authority.to_owned(),
            roots,
        });
        Some(held)
    }

    /// Why what a pod showed does not do, and whether that is for want of trust in the new root.
    fn shown(&self, member: &Member<'_>, shown: &Shown, plan: &mut Plan) -> Option<(String, bool)> {
        let Rollover { to, from, phase, since, .. } = self.rollover;
        if shown.lets_in.get(to) != Some(&true) {
            return Some(("it does not let in clients under the new root yet".into(), true));
        }
        if *phase == Phase::Distributing {
            return None;
        }
        let published = member.certificate.published_version();
        if !published
            .is_some_and(|(_, version)| version.root == *to && version.leaf.sha256 == shown.leaf_sha256)
        {
            return Some(("it does not show its leaf under the new root yet".into(), false));
        }
        if *phase == Phase::Retiring {
            let refused = shown.lets_in.get(from) == Some(&false);
            return (!refused).then(|| ("it still lets in clients under the old root".into(), false));
        }
        let open = shown.connections_under.get(from).copied().unwrap_or(0);
        let deadline = since.checked_add(self.drain);
        if open > 0 && deadline.is_none_or(|deadline| self.now < deadline) {
            if let Some(deadline) = deadline {
                plan.wake(deadline);
            }
            return Some((format!("{open} of its connections came in under the old root"), false));
        }
        None
    }
}
