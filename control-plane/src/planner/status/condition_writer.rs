//! The conditions of one object. The time of the last transition is kept while the status of a condition
//! stays the same.

use std::time::SystemTime;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::date;

/// Reasons that are a normal part of an object's life.
const TRANSIENT: [Reason; 4] =
    [Reason::WaitingForTrust, Reason::MovingTrust, Reason::WaitingForManager, Reason::Deleting];

/// `before` are the conditions in the present status.
pub struct Conditions<'a> {
    before: &'a [Condition],
    now: SystemTime,
    conditions: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub fn new(before: &'a [Condition], now: SystemTime) -> Self {
        Self { before, now, conditions: Vec::new() }
    }

    pub fn set(&mut self, r#type: ConditionType, status: ConditionStatus, reason: Reason, message: String) {
        let before = self.before(r#type).filter(|condition| condition.status == status);
        let last_transition_time = before
            .map_or_else(|| date::seconds(self.now), |condition| condition.last_transition_time.clone());
        self.conditions.push(Condition { r#type, status, reason, message, last_transition_time });
    }

    /// There is such a condition only while the object has a problem.
    pub fn set_degraded(&mut self, problem: Option<(Reason, &str)>) {
        if let Some((reason, message)) = problem.filter(|(reason, _)| !TRANSIENT.contains(reason)) {
            self.set(ConditionType::Degraded, ConditionStatus::True, reason, message.to_owned());
        }
    }

    /// The condition of this type in the present status.
    pub fn before(&self, r#type: ConditionType) -> Option<&'a Condition> {
        Condition::find(self.before, r#type)
    }

    /// As it is in the present status.
    pub fn keep(&mut self, r#type: ConditionType) {
        self.conditions.extend(self.before(r#type).cloned());
    }

    pub fn into_vec(self) -> Vec<Condition> {
        self.conditions
    }
}
