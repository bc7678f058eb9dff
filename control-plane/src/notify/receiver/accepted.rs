//! What became of a message that was accepted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Debug, Default, PartialEq)]
pub struct Accepted {
    /// Objects that a request was left with.
    pub requested: Vec<String>,
    /// Objects for which nothing follows, and why.
    pub unchanged: BTreeMap<String, String>,
    pub replay: bool,
    pub test: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
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
            Self { requested, .. } if requested.is_empty() => Outcome::Unchanged,
            _ => Outcome::Accepted,
        }
    }

    /// The body of the response.
    pub fn json(&self) -> Value {
        let outcome = self.outcome().as_str();
        json!({ "outcome": outcome, "requested": self.requested, "unchanged": self.unchanged })
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unchanged => "unchanged",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }
}
