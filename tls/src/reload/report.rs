//! What the reload loop tells: each event once to the log and the counters, the state every time to the
//! status.

use std::time::SystemTime;

use tracing::{info, warn};

use super::reporter::Reporter;
use crate::event::{CredentialPart, Event};
use crate::identity::{Identity, Rejection, Trust, Validation};
use crate::snapshot::Snapshot;
use crate::source::{Decision, SourceKind, WatchState};
use crate::status::{ApiStatus, Attempt, Authority, CurrentRejection, HeldCandidate, Outcome};

/// The authority, logged when it changes, and the state of the watch.
pub(super) fn report_sources(
    reporter: &Reporter,
    decision: &Decision<'_>,
    api: Option<&WatchState>,
    secret: Option<&str>,
    now: SystemTime,
) {
    let before = reporter.status().source.authority;
    let changed = before.as_ref().is_none_or(|before| before.kind != decision.authority);
    let since = before.filter(|_| !changed).map_or(now, |before| before.since);
    if changed && api.is_some() {
        match decision.authority {
            SourceKind::Api => info!(why = decision.why, "the Kubernetes API is the deciding source"),
            SourceKind::Volume => info!(why = decision.why, "the volume is the deciding source"),
            SourceKind::Manual => {}
        }
    }
    reporter.update(|report| {
        report.source.authority =
            Some(Authority { kind: decision.authority, why: decision.why.clone(), since });
        report.source.api = api.zip(secret).map(|(api, secret)| ApiStatus {
            secret: secret.to_owned(),
            state: api.state.clone(),
            since: api.since,
            resource_version: api.last.as_ref().map(|last| last.resource_version.clone()),
            revision: api.last.as_ref().and_then(|last| last.credential.revision),
            failures: api.failures.clone(),
        });
    });
}

/// A new identity is current.
pub(super) fn log_published(snapshot: &Snapshot) {
    let Identity { leaf, trust } = &snapshot.identity;
    info!(
        generation = snapshot.generation,
        serial = leaf.serial,
        names = %leaf.names,
        not_after = %humantime::format_rfc3339_seconds(leaf.not_after),
        roots = trust.as_ref().map_or(0, |trust| trust.roots.len()),
        "identity published"
    );
    for notice in trust.iter().flat_map(|trust| &trust.passed_over) {
        warn!(notice, "a certificate of the trust bundle is passed over");
    }
    let lists = trust.iter().flat_map(|trust| &trust.revocation);
    for notice in lists.flat_map(|lists| &lists.notices) {
        warn!(notice, "the revocation lists are not as they should be");
    }
    if let Some(why) = leaf.names.no_spiffe_id() {
        warn!(
            serial = leaf.serial,
            "the leaf has {why}: peers that allow or expect it by its SPIFFE ID refuse it"
        );
    }
    if !leaf.roles.client {
        warn!(
            serial = leaf.serial,
            "the leaf cannot be used as a client certificate: no outbound mTLS with it"
        );
    }
    if !leaf.roles.server {
        warn!(
            serial = leaf.serial,
            "the leaf cannot be used as a server certificate: nothing is served with it"
        );
    }
}

/// A new identity is current, in place of `before`.
pub(super) fn emit_published(reporter: &Reporter, snapshot: &Snapshot, before: Option<&Identity>) {
    let Snapshot { generation, identity: Identity { leaf, trust }, .. } = snapshot;
    reporter.emit(Event::Published {
        generation: *generation,
        serial: leaf.serial.clone(),
        not_after: leaf.usable_until,
    });
    let roots = |trust: Option<&Trust>| -> Vec<String> {
        trust.into_iter().flat_map(|trust| trust.roots.iter().map(|root| root.sha256.clone())).collect()
    };
    let (old, new) = (roots(before.and_then(|before| before.trust.as_deref())), roots(trust.as_deref()));
    let without = |these: &[String], others: &[String]| -> Vec<String> {
        these.iter().filter(|root| !others.contains(root)).cloned().collect()
    };
    let (added, removed) = (without(&new, &old), without(&old, &new));
    if before.is_some() && !(added.is_empty() && removed.is_empty()) {
        reporter.emit(Event::TrustChanged { generation: *generation, added, removed });
    }
}

/// Logs and counts a rejection. Called once for the same content and reasons.
pub(super) fn rejected(reporter: &Reporter, served: Option<&Snapshot>, validation: &Validation) {
    let serving = match served {
        Some(snapshot) => format!("generation {} is still served", snapshot.generation),
        None => "nothing is served yet".into(),
    };
    let (leaf, trust) = (validation.leaf.as_ref().err(), validation.trust.as_ref().err());
    // A rejected bundle can be the reason that the leaf is rejected with it: one event, not two.
    let leaf = leaf.filter(|leaf| trust != Some(leaf));
    let lists = validation.revocation();
    let parts = [CredentialPart::Trust, CredentialPart::Leaf, CredentialPart::Revocation];
    for (part, rejection) in parts.into_iter().zip([trust, leaf, lists]) {
        let Some(rejection) = rejection else { continue };
        let reason = rejection.reason();
        if let Rejection::NotYetValid { not_before, serial, .. } = rejection {
            reporter.emit(Event::Held { not_before: *not_before, serial: serial.clone() });
            info!(part = part.as_str(), reason = reason.as_str(), detail = %rejection, serving, "candidate held");
            reporter.count(Outcome::Held, Some(reason));
        } else {
            reporter.emit(Event::Refused { part, rejection: rejection.clone() });
            warn!(part = part.as_str(), reason = reason.as_str(), detail = %rejection, serving, "candidate refused");
            reporter.count(Outcome::Refused, Some(reason));
        }
    }
}

/// What the status shows of a candidate that is not served as a whole. Returns what became of it.
pub(super) fn report_rejections(reporter: &Reporter, validation: &Validation, now: SystemTime) -> Outcome {
    let (leaf, trust) = (validation.leaf.as_ref().err(), validation.trust.as_ref().err());
    let lists = validation.revocation();
    let mut outcome = Outcome::Refused;
    reporter.update(|report| {
        report.held = match leaf {
            Some(Rejection::NotYetValid { not_before, serial, .. }) => {
                Some(HeldCandidate { not_before: *not_before, serial: serial.clone() })
            }
            _ => None,
        };
        let is_held = report.held.is_some();
        report.rejected_leaf = since(&report.rejected_leaf, leaf.filter(|_| !is_held), now);
        report.rejected_trust = since(&report.rejected_trust, trust, now);
        report.rejected_revocation = since(&report.rejected_revocation, lists, now);
        let is_refused = trust.is_some() || lists.is_some();
        outcome = if is_held && !is_refused { Outcome::Held } else { Outcome::Refused };
        report.last_attempt =
            Some(Attempt { at: now, outcome, rejection: leaf.or(trust).or(lists).cloned() });
    });
    outcome
}

/// The rejection, with the time at which it was first seen.
fn since(
    before: &Option<CurrentRejection>,
    rejection: Option<&Rejection>,
    now: SystemTime,
) -> Option<CurrentRejection> {
    let rejection = rejection?.clone();
    let since =
        before.as_ref().filter(|before| before.rejection == rejection).map_or(now, |before| before.since);
    Some(CurrentRejection { rejection, since })
}
