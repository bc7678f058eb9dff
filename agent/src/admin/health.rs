//! Health: what is served, whether the pod is ready, and if not, why. Computed from the snapshot, the status
//! and the tracker on each request. It contains no secrets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::admin::agent_status::{AgentReport, AgentStatus, SelfCheck};
use crate::connection::tracker::Side;
use crate::proxy::context::ProxyContext;
use hotcert_tls::Snapshot;
use hotcert_tls::identity::RevocationList;
use hotcert_tls::status::{CurrentRejection, SourceStatus, Status};
use hotcert_tls::{ApiState, WatchError};

#[derive(Clone)]
pub struct Health {
    pub context: Arc<ProxyContext>,
    pub status: AgentStatus,
}

impl Health {
    /// Why the pod is not ready; `None` if it is.
    pub fn unready(&self, now: SystemTime) -> Option<String> {
        self.unready_by(
            &self.status.report(),
            &self.context.identities.status(),
            self.context.identities.current().as_deref(),
            now,
        )
    }

    fn unready_by(
        &self,
        report: &AgentReport,
        reload: &Status,
        snapshot: Option<&Snapshot>,
        now: SystemTime,
    ) -> Option<String> {
        if report.draining {
            return Some("draining: the agent is shutting down".into());
        }
        let Some(snapshot) = snapshot else {
            let why = reload.last_attempt.as_ref().and_then(|attempt| attempt.rejection.as_ref());
            return Some(match why {
                Some(rejection) => format!("no identity: {rejection}"),
                None => match &reload.source.authority {
                    Some(authority) => format!("no identity yet: {}", authority.why),
                    None => "no identity yet".into(),
                },
            });
        };
        let leaf = &snapshot.identity.leaf;
        if now >= leaf.usable_until {
            return Some(format!(
                "the served certificate or its chain expired at {}",
                format_rfc3339_seconds(leaf.usable_until)
            ));
        }
        if now < leaf.usable_from {
            return Some(format!(
                "the served certificate or its chain is not valid before {}: set the clock of this machine",
                format_rfc3339_seconds(leaf.usable_from)
            ));
        }
        if let Some(fault) = snapshot.revocation_fault(now) {
            return Some(format!("peers refuse the served certificate: {fault}"));
        }
        match &report.self_check {
            None => Some("the self-check of the listener is not complete yet".into()),
            Some(SelfCheck { result: Err(cause), .. }) => {
                Some(format!("the self-check of the listener failed: {cause}"))
            }
            Some(_) => None,
        }
    }

    pub fn json(&self, now: SystemTime) -> Value {
        let (report, reload) = (self.status.report(), self.context.identities.status());
        let snapshot = self.context.identities.current();
        let reason = self.unready_by(&report, &reload, snapshot.as_deref(), now);
        json!({
            "ready": reason.is_none(),
            "reason": reason,
            "draining": report.draining,
            "generation": snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            "source": source(&reload.source, snapshot.as_deref()),
            "served": snapshot.as_ref().map(|snapshot| served(snapshot, &report, now)),
            "last_attempt": reload.last_attempt.as_ref().map(|attempt| json!({
                "at": date(attempt.at),
                "outcome": attempt.outcome.as_str(),
                "reason": attempt.rejection.as_ref().map(|rejection| rejection.reason().as_str()),
                "detail": attempt.rejection.as_ref().map(ToString::to_string),
            })),
            "refused": {
                "leaf": reload.rejected_leaf.as_ref().map(rejection),
                "trust": reload.rejected_trust.as_ref().map(rejection),
                "revocation": reload.rejected_revocation.as_ref().map(rejection),
            },
            "held": reload.held.as_ref().map(|held| json!({
                "not_before": date(held.not_before),
                "serial": held.serial,
            })),
            "exposed": report.exposed,
            "connections": self.connections(snapshot.as_deref()),
        })
    }

    /// The response of the proof listener: what is served, and which connections are still open under older
    /// identities and removed roots.
    pub fn proof_json(&self) -> Value {
        let snapshot = self.context.identities.current();
        let trust = snapshot.as_ref().and_then(|snapshot| snapshot.identity.trust.as_ref());
        json!({
            "generation": snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            "leaf_sha256": snapshot.as_ref().map(|snapshot| &snapshot.identity.leaf.sha256),
            "trust_sha256": trust.map(|trust| &trust.sha256),
            "roots": trust.map(|trust| trust.roots.iter().map(|root| &root.sha256).collect::<Vec<_>>()),
            "connections": self.connections(snapshot.as_deref()),
            "connections_under": trust.map(|trust| self.context.tracker.under_each_root(trust)),
            "connections_under_removed_roots": self.context.tracker.under_removed_roots(),
        })
    }

    /// Inbound connections by generation.
    fn connections(&self, snapshot: Option<&Snapshot>) -> Value {
        json!(self.context.tracker.count(Side::Inbound, snapshot.map_or(0, |snapshot| snapshot.generation)))
    }
}

fn source(source: &SourceStatus, snapshot: Option<&Snapshot>) -> Value {
    let authority = source.authority.as_ref();
    let trust = snapshot.and_then(|snapshot| snapshot.identity.trust.as_ref());
    let passed_over = trust.iter().flat_map(|trust| &trust.passed_over);
    let lists = trust.iter().filter_map(|trust| trust.revocation.as_ref());
    let of_lists = lists.flat_map(|lists| &lists.notices);
    let hanging = source.hanging_since.map(|since| since.elapsed().as_secs());
    let hangs = hanging.map(|seconds| format!("the directory has not answered for {seconds} s"));
    json!({
        "kind": authority.map(|authority| authority.kind.as_str()),
        "why": authority.map(|authority| &authority.why),
        "since": authority.map(|authority| date(authority.since)),
        "directory": source.directory,
        "atomic": source.atomic,
        "watching": source.watching,
        "hanging_seconds": hanging,
        "notices": hangs.iter().chain(&source.notices).chain(passed_over).chain(of_lists).collect::<Vec<_>>(),
        "api": source.api.as_ref().map(|api| json!({
            "secret": api.secret,
            "state": api.state.as_str(),
            "reason": watch_error(&api.state).map(|error| error.reason.as_str()),
            "detail": watch_error(&api.state).map(|error| &error.detail),
            "since": date(api.since),
            "resource_version": api.resource_version,
            "revision": api.revision,
        })),
    })
}

fn watch_error(state: &ApiState) -> Option<&WatchError> {
    match state {
        ApiState::Lost(error) => Some(error),
        _ => None,
    }
}

fn served(snapshot: &Snapshot, report: &AgentReport, now: SystemTime) -> Value {
    let leaf = &snapshot.identity.leaf;
    let trust = snapshot.identity.trust.as_ref();
    json!({
        "serial": leaf.serial,
        "sha256": leaf.sha256,
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": leaf.names.labels(),
        "not_before": date(leaf.not_before),
        "not_after": date(leaf.not_after),
        "age_seconds": seconds_between(leaf.not_before, now),
        "expires_in_seconds": seconds_between(now, leaf.not_after),
        "roles": leaf.roles.labels(),
        "roots": trust.map(|trust| trust.roots.iter().map(|root| json!({
            "sha256": root.sha256,
            "subject": root.subject,
            "not_before": date(root.not_before),
            "not_after": date(root.not_after),
        })).collect::<Vec<_>>()),
        "trust_sha256": trust.map(|trust| &trust.sha256),
        "revocation_lists": trust.and_then(|trust| trust.revocation.as_ref()).map(|revocation| {
            revocation.lists.iter().map(|list| revocation_list(list, now)).collect::<Vec<_>>()
        }),
        "published_at": date(snapshot.published_at),
        "delivered_by": snapshot.delivery.from.as_str(),
        "written_at": snapshot.delivery.written_at.map(date),
        "written_to_published_seconds": written_to_published(snapshot),
        "proof": self_check(snapshot, report.self_check.as_ref()),
    })
}

fn revocation_list(list: &RevocationList, now: SystemTime) -> Value {
    json!({
        "issuer": list.issuer,
        "number": list.number,
        "this_update": date(list.this_update),
        "next_update": date(list.next_update),
        "usable_until": date(list.usable_until()),
        "usable": now < list.usable_until(),
        "revoked": list.revoked,
    })
}

fn self_check(snapshot: &Snapshot, check: Option<&SelfCheck>) -> Value {
    let Some(check) = check.filter(|check| check.generation == snapshot.generation) else {
        return json!({ "outcome": "pending" });
    };
    match &check.result {
        Ok(None) => json!({ "outcome": "not_serving", "at": date(check.at) }),
        Ok(Some(served)) => json!({
            "outcome": "served",
            "leaf_sha256": served.sha256,
            "at": date(check.at),
            "swap_to_served_seconds": served.swap_to_served_seconds,
            "detail": null,
        }),
        Err(cause) => json!({ "outcome": "failed", "at": date(check.at), "detail": cause }),
    }
}

fn rejection(current: &CurrentRejection) -> Value {
    json!({
        "reason": current.rejection.reason().as_str(),
        "detail": current.rejection.to_string(),
        "since": date(current.since),
    })
}

fn date(time: SystemTime) -> String {
    format_rfc3339_seconds(time).to_string()
}

/// Measured by two clocks, one of them to the second. `None` for what was present at start.
fn written_to_published(snapshot: &Snapshot) -> Option<i64> {
    snapshot.delivery.changed_at?;
    Some(seconds_between(snapshot.delivery.written_at?, snapshot.published_at))
}

/// Negative when `to` is before `from`.
fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    to.duration_since(from).map_or_else(|error| -whole(error.duration()), whole)
}

#[cfg(test)]
mod tests;
