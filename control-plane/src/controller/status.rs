//! What the controller's tasks report of themselves, for `health`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::webhook_certificate::plan::Phase;

/// Shared by the tasks that report and the endpoints that read.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Report>>);

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub certificate: CertificateReport,
    /// Set on SIGTERM and never cleared.
    pub draining: bool,
}

/// The state of the webhook's certificate when it was last reconciled.
#[derive(Clone, Debug, Default)]
pub struct CertificateReport {
    pub phase: Option<Phase>,
    pub revision: u64,
    /// Subjects of the roots that API servers trust.
    pub trusted: Vec<String>,
    pub renew_at: Option<SystemTime>,
    /// Why the last reconciliation failed.
    pub problem: Option<String>,
}

impl Status {
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// Whether the problem differs from the reported one, and so is worth a log message.
    pub fn is_new_problem(&self, problem: &str) -> bool {
        self.lock().certificate.problem.as_deref() != Some(problem)
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
