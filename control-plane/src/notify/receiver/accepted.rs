//! What became of a message that was accepted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Debug, Default, PartialEq)]
pub struct Accepted {
    /// Objects that a request was left with.
    pub requested: Vec<String>,
    /// Objects for which nothing follows, and why.
    pub unchanged: BTreeMap<String, String>,
    /// What the sender reports to have failed or to be blocked there.
    pub warnings: Vec<String>,
    /// A revocation came too soon after another.
    pub limited: bool,
    pub replay: bool,
    pub test: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// Something failed or is blocked at the sender.
    Warning,
    /// What it reports revoked was replaced on a revocation a while ago, and is not again.
    Limited,
    /// Nothing follows from it.
    Unchanged,
    /// The message was accepted before.
    Replay,
    Test,
}

impl Accepted {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self { replay: true, .. } => Outcome::Replay,
            Self { test: true, .. } => Outcome::Test,
            Self { limited: true, .. } => Outcome::Limited,
            Self { warnings, .. } if !warnings.is_empty() => Outcome::Warning,
            Self { requested, .. } if requested.is_empty() => Outcome::Unchanged,
            _ => Outcome::Accepted,
        }
    }

    /// The body of the response.
    pub fn json(&self) -> Value {
        let outcome = self.outcome().as_str();
        let Self { requested, unchanged, warnings, .. } = self;
        json!({ "outcome": outcome, "requested": requested, "unchanged": unchanged, "warnings": warnings })
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Warning => "warning",
            Self::Limited => "limited",
            Self::Unchanged => "unchanged",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }
}
