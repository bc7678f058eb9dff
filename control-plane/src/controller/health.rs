//! Health: what the webhook serves, whether API servers trust it, and why this pod is not ready. Contains no
//! secrets.

use std::fmt;
use std::time::SystemTime;

use hotcert_tls::{Identities, Snapshot};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::admission_review::AdmissionOutcome;
use super::self_check::SelfCheck;
use super::status::{Report, Status};
use super::webhook_certificate::plan::Phase;
use crate::api::date;
use crate::controller::native_sidecar::SidecarDecision;
use crate::controller::webhook_counters::WebhookCounters;
use crate::notify::config::Rejected;

#[derive(Clone)]
pub struct Health {
    pub identities: Identities,
    pub status: Status,
    pub self_check: watch::Receiver<SelfCheck>,
    pub sidecar: watch::Receiver<Option<SidecarDecision>>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    pub counters: WebhookCounters,
    pub settings_rejected: Rejected,
}

impl Health {
    /// What is wrong although this pod is ready. Invalid notification settings are the same in every replica: were
    /// they to make a replica unready, none would answer admission requests, and no pod that asks for the agent
    /// could be created, for want of a notification.
    pub fn problem(&self) -> Option<String> {
        let why = self.settings_rejected.borrow().clone()?;
        Some(settings_problem(&why))
    }

    /// `None` if this pod is ready.
    pub fn unready(&self, now: SystemTime) -> Option<Unready> {
        let snapshot = self.identities.current();
        unready(&self.status.report(), &self.self_check.borrow(), snapshot.as_deref(), now)
    }

    pub fn json(&self, now: SystemTime) -> Value {
        let (report, reload) = (self.status.report(), self.identities.status());
        let snapshot = self.identities.current();
        let reason = unready(&report, &self.self_check.borrow(), snapshot.as_deref(), now);
        let pods: serde_json::Map<_, _> = AdmissionOutcome::ALL
            .into_iter()
            .map(|outcome| (outcome.as_str().to_owned(), self.counters.admissions(outcome).into()))
            .collect();
        let sidecar = self.sidecar.borrow().clone();
        json!({
            "healthy": reason.is_none() && self.problem().is_none(),
            "settings_problem": self.problem(),
            "ready": reason.is_none(),
            "reason": reason.map(|reason| reason.to_string()),
            "draining": report.draining,
            "leading": *self.leading.borrow(),
            "phase": report.certificate.phase.map(Phase::as_str),
            "revision": report.certificate.revision,
            "renew_at": report.certificate.renew_at.map(date::seconds),
            "problem": report.certificate.problem,
            "trusted_roots": report.certificate.trusted,
            "generation": snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            "served": snapshot.as_deref().map(|snapshot| served(snapshot, now)),
            "refused": reload.rejected_leaf.as_ref().map(|rejected| rejected.rejection.to_string()),
            "sidecar": sidecar.map(|decision| json!({
                "kind": decision.kind.to_string(),
                "reason": decision.reason,
            })),
            "pods": pods,
        })
    }
}

/// For `/readyz` and `/healthz`.
pub fn settings_problem(why: &str) -> String {
    format!("the notification settings are rejected: {why}")
}

/// Why this pod must not receive requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    Draining,
    /// With the problem that prevents it from being issued.
    NoCertificate(Option<String>),
    Expired(SystemTime),
    /// The served certificate's root is not in the `caBundle`.
    NotTrusted,
    /// The self-check has not completed yet.
    NotVerified,
    SelfCheckFailed(String),
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining: the controller is stopping"),
            Self::NoCertificate(problem) => {
                let problem = problem.as_deref().unwrap_or("none has been issued yet");
                write!(f, "no certificate for the webhook: {problem}")
            }
            Self::Expired(end) => write!(f, "the webhook's certificate expired at {}", date::seconds(*end)),
            Self::NotTrusted => f.write_str(
                "the caBundle of the webhook configuration does not contain the root of the served certificate",
            ),
            Self::NotVerified => f.write_str("the self-check of the webhook has not completed yet"),
            Self::SelfCheckFailed(cause) => write!(f, "the self-check of the webhook failed: {cause}"),
        }
    }
}

fn unready(
    report: &Report,
    self_check: &SelfCheck,
    snapshot: Option<&Snapshot>,
    now: SystemTime,
) -> Option<Unready> {
    if report.draining {
        return Some(Unready::Draining);
    }
    let Some(Snapshot { identity, .. }) = snapshot else {
        return Some(Unready::NoCertificate(report.certificate.problem.clone()));
    };
    let leaf = &identity.leaf;
    if now >= leaf.usable_until {
        return Some(Unready::Expired(leaf.usable_until));
    }
    if !report.certificate.trusted.contains(&leaf.issuer) {
        return Some(Unready::NotTrusted);
    }
    match self_check {
        None => Some(Unready::NotVerified),
        Some(Err(cause)) => Some(Unready::SelfCheckFailed(cause.clone())),
        Some(Ok(())) => None,
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
