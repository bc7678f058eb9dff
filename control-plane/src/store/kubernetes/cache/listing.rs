//! Whether what a watch has put together is the whole of it.

use std::time::Instant;

#[derive(Clone, Debug)]
pub enum Listing {
    /// Not yet; what was in the way, if anything was.
    Pending {
        since: Instant,
        problem: Option<String>,
    },
    Complete,
    /// The right to it is missing.
    Forbidden(String),
    /// The right to it is missing because the namespace is gone, and everything that was in it.
    NamespaceGone,
}

impl Default for Listing {
    fn default() -> Self {
        Self::Pending { since: Instant::now(), problem: None }
    }
}

impl Listing {
    /// What was listed once stays known while the API cannot be reached.
    pub fn record_problem(&mut self, message: String) {
        if let Self::Pending { problem, .. } = self {
            *problem = Some(message);
        }
    }
}
