//! Health: what the webhook serves, whether API servers trust it, and if this pod is not ready, why.
//! Holds no secrets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hotcert_agent::admin::status::{AgentReport, AgentStatus, SelfCheck};
use hotcert_agent::tls::reload::status::ReloadStatus;
use hotcert_agent::tls::snapshot::{Current, Snapshot};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::metrics::Counts;
use super::sidecar::Decision;
use crate::api::date;
use crate::controller::webhook_certificate::Found;

/// Shared between the parts that report and those that show.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Report>>);

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub certificate: Found,
    /// Set on SIGTERM, never taken back.
    pub draining: bool,
}

impl Status {
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// Whether it is another problem than the one that is known, and so is to be said.
    pub fn is_new_problem(&self, problem: &str) -> bool {
        self.lock().certificate.problem.as_deref() != Some(problem)
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
pub struct Health {
    pub current: Current,
    pub status: Status,
    pub reload: ReloadStatus,
    pub self_check: AgentStatus,
    pub sidecar: watch::Receiver<Option<Decision>>,
    /// Whether this replica issues.
    pub leading: watch::Receiver<bool>,
    pub counts: Counts,
}

impl Health {
    /// Why this pod is not to be called; `None` if it is.
    pub fn unready(&self, now: SystemTime) -> Option<String> {
        unready(&self.status.report(), &self.self_check.report(), self.current.load().as_deref(), now)
    }

    pub fn json(&self, now: SystemTime) -> Value {
        let (report, reload) = (self.status.report(), self.reload.report());
        let snapshot = self.current.load();
        let reason = unready(&report, &self.self_check.report(), snapshot.as_deref(), now);
        let count = |outcome| self.counts.outcome(outcome);
        let sidecar = self.sidecar.borrow().clone();
        json!({
            "ready": reason.is_none(),
            "reason": reason,
            "draining": report.draining,
            "leading": *self.leading.borrow(),
            "phase": report.certificate.phase,
            "revision": report.certificate.revision,
            "renew_at": report.certificate.renew_at.map(date::seconds),
            "problem": report.certificate.problem,
            "trusted_roots": report.certificate.trusted,
            "generation": snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            "served": snapshot.as_deref().map(|snapshot| served(snapshot, now)),
            "refused": reload.rejected_leaf.as_ref().map(|current| current.rejection.to_string()),
            "sidecar": sidecar.map(|decision| json!({
                "kind": decision.kind.to_string(),
                "why": decision.why,
            })),
            "pods": {
                "injected": count("injected"),
                "unchanged": count("unchanged"),
                "untouched": count("untouched"),
                "refused": count("refused"),
                "malformed": count("malformed"),
            },
        })
    }
}

fn unready(
    report: &Report,
    agent: &AgentReport,
    snapshot: Option<&Snapshot>,
    now: SystemTime,
) -> Option<String> {
    if report.draining {
        return Some("draining: the controller was told to stop".into());
    }
    let Some(Snapshot { identity, .. }) = snapshot else {
        let problem = report.certificate.problem.as_deref().unwrap_or("none was issued yet");
        return Some(format!("no certificate for the webhook: {problem}"));
    };
    let leaf = &identity.leaf;
    if now >= leaf.usable_until {
        let end = date::seconds(leaf.usable_until);
        return Some(format!("the webhook's certificate expired at {end}"));
    }
    if !report.certificate.trusted.contains(&leaf.issuer) {
        return Some(
            "the caBundle of the webhook configuration does not have the served certificate's root".into(),
        );
    }
    match &agent.self_check {
        None => Some("the webhook has not been seen to serve its certificate yet".into()),
        Some(SelfCheck { result: Err(cause), .. }) => {
            Some(format!("the webhook does not serve its certificate: {cause}"))
        }
        Some(_) => None,
    }
}

fn served(snapshot: &Snapshot, now: SystemTime) -> Value {
    let leaf = &snapshot.identity.leaf;
    json!({
        "serial": leaf.serial,
        "sha256": leaf.sha256,
        "issuer": leaf.issuer,
        "names": leaf.names.labels(),
        "not_before": date::seconds(leaf.not_before),
        "not_after": date::seconds(leaf.not_after),
        "age_seconds": seconds_between(leaf.not_before, now),
        "expires_in_seconds": seconds_between(now, leaf.not_after),
    })
}

/// Negative when `to` is before `from`.
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from)
        .map_or_else(|error| -error.duration().as_secs_f64(), |span| span.as_secs_f64())
        .round()
}
