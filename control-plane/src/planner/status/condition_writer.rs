//! The conditions of one object. The time of the last transition is kept while the status of a condition
//! stays the same.

use std::time::SystemTime;

use super::readiness::Effect;
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::date;

/// Reasons that are a normal part of an object's life.
const TRANSIENT: [Reason; 4] =
    [Reason::WaitingForTrust, Reason::MovingTrust, Reason::WaitingForManager, Reason::Deleting];

/// `before` are the conditions in the present status.
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: i64,
    now: SystemTime,
    conditions: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub fn new(before: &'a [Condition], generation: i64, now: SystemTime) -> Self {
        Self { before, generation, now, conditions: Vec::new() }
    }

    pub fn set(&mut self, r#type: ConditionType, status: ConditionStatus, reason: Reason, message: String) {
        let before = self.before(r#type).filter(|condition| condition.status == status);
        let last_transition_time = before
            .map_or_else(|| date::seconds(self.now), |condition| condition.last_transition_time.clone());
        let observed_generation = Some(self.generation);
        self.conditions.push(Condition {
            r#type,
            status,
            reason,
            message,
            last_transition_time,
            observed_generation,
        });
    }

    /// Ready, and what kstatus reads beside it: whether the spec comes into force by itself, or not before a person
    /// changes something. `is_pending`: the spec is not in force, although what is published is valid.
    pub fn set_ready(&mut self, is_ready: bool, is_pending: bool, reason: Reason, message: &str) {
        let status = if is_ready { ConditionStatus::True } else { ConditionStatus::False };
        self.set(ConditionType::Ready, status, reason, message.to_owned());
        let of_type = match Effect::of(reason) {
            Effect::Refuses => ConditionType::Stalled,
            Effect::Blocks | Effect::Keeps | Effect::Elsewhere if !is_ready || is_pending => {
                ConditionType::Reconciling
            }
            Effect::Blocks | Effect::Keeps | Effect::Elsewhere | Effect::Ends => return,
        };
        self.set(of_type, ConditionStatus::True, reason, message.to_owned());
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

/// Whether this status need not be written, because `before`, with these conditions `recorded`, says the same.
pub fn is_recorded<S: PartialEq>(
    status: &mut S,
    before: &S,
    conditions: fn(&mut S) -> &mut Vec<Condition>,
    recorded: &[Condition],
) -> bool {
    if !is_same(recorded, conditions(status)) {
        return false;
    }
    let now = std::mem::replace(conditions(status), recorded.to_vec());
    let is_recorded = status == before;
    *conditions(status) = now;
    is_recorded
}

/// A generation in only one of them makes no difference: a definition of an earlier version does not store it, and what
/// cannot be stored must not be written over and over.
fn is_same(before: &[Condition], now: &[Condition]) -> bool {
    let is_same = |(before, now): (&Condition, &Condition)| {
        let generation = before.observed_generation.and(now.observed_generation);
        let without = |condition: &Condition| Condition {
            observed_generation: generation.and(condition.observed_generation),
            ..condition.clone()
        };
        without(before) == without(now)
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}
