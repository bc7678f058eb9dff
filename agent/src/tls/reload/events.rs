//! What the reload loop says: to the log and the counters once, to the status every time.

use std::time::SystemTime;

use tracing::{info, warn};

use crate::tls::identity::{Identity, Rejection};
use crate::tls::reload::status::{ApiReport, Attempt, Authority, Held, Outcome, Refusal, Status};
use crate::tls::snapshot::Snapshot;
use crate::tls::source::kubernetes::WatchState;
use crate::tls::source::{Decision, SourceKind};

/// Which source is believed: to the log when it changes, and how the API is.
pub fn authority(status: &Status, decision: &Decision<'_>, api: Option<&WatchState>, secret: Option<&str>) {
    let before = status.report().source.authority;
    let changed = before.as_ref().is_none_or(|before| before.origin != decision.authority);
    let since = before.filter(|_| !changed).map_or_else(SystemTime::now, |before| before.since);
    if changed && api.is_some() {
        match decision.authority {
            SourceKind::Api => info!(why = decision.why, "the Kubernetes API is the authority"),
            SourceKind::Volume => info!(why = decision.why, "the volume is the authority"),
        }
    }
    status.update(|report| {
        report.source.authority =
            Some(Authority { origin: decision.authority, why: decision.why.clone(), since });
        report.source.api = api.zip(secret).map(|(api, secret)| ApiReport {
            secret: secret.to_owned(),
            state: api.state.clone(),
            since: api.since,
            resource_version: api.last.as_ref().map(|last| last.resource_version.clone()),
            revision: api.last.as_ref().and_then(|last| last.credential.revision),
        });
    });
}

/// A new identity is current.
pub fn published(snapshot: &Snapshot) {
    let Identity { leaf, trust } = &snapshot.identity;
    info!(
        generation = snapshot.generation,
        serial = leaf.serial,
        names = %leaf.names,
        not_after = %humantime::format_rfc3339_seconds(leaf.not_after),
        roots = trust.as_ref().map_or(0, |trust| trust.roots.len()),
        "identity published"
    );
    if !leaf.roles.client {
        warn!(serial = leaf.serial, "the leaf does not do as a client certificate: no outbound mTLS with it");
    }
    if !leaf.roles.server {
        warn!(
            serial = leaf.serial,
            "the leaf does not do as a server certificate: nothing is served with it"
        );
    }
}

/// Once per content and reason: the log and the counter.
pub fn refused(
    status: &Status,
    served: Option<&Snapshot>,
    leaf: Option<&Rejection>,
    trust: Option<&Rejection>,
) {
    let serving = match served {
        Some(snapshot) => format!("generation {} goes on being served", snapshot.generation),
        None => "nothing is served yet".into(),
    };
    let mut said = None;
    for (part, rejection) in [("trust", trust), ("leaf", leaf)] {
        let Some(rejection) = rejection else { continue };
        // A bundle that is refused can refuse the leaf with it: record so once.
        if said.replace(rejection) == Some(rejection) {
            continue;
        }
        let reason = rejection.reason();
        if let Rejection::NotYetValid { .. } = rejection {
            info!(part, reason, detail = %rejection, serving, "candidate held");
            status.count(Outcome::Held, reason);
        } else {
            warn!(part, reason, detail = %rejection, serving, "candidate refused");
            status.count(Outcome::Refused, reason);
        }
    }
}

/// Every time: what health shows.
pub fn report(status: &Status, leaf: Option<&Rejection>, trust: Option<&Rejection>, now: SystemTime) {
    status.update(|report| {
        let keep = |before: &Option<Refusal>, rejection: Option<&Rejection>| {
            let rejection = rejection?.clone();
            let since = before
                .as_ref()
                .filter(|before| before.rejection == rejection)
                .map_or(now, |before| before.since);
            Some(Refusal { rejection, since })
        };
        report.held = match leaf {
            Some(Rejection::NotYetValid { not_before, serial, .. }) => {
                Some(Held { not_before: *not_before, serial: serial.clone() })
            }
            _ => None,
        };
        report.refused_leaf = keep(&report.refused_leaf, leaf.filter(|_| report.held.is_none()));
        report.refused_trust = keep(&report.refused_trust, trust);
        let outcome = if report.held.is_some() && trust.is_none() { Outcome::Held } else { Outcome::Refused };
        report.last_attempt = Some(Attempt { at: now, outcome, refusal: leaf.or(trust).cloned() });
    });
}
