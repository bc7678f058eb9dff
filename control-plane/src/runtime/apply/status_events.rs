//! The Events of a status that was written: what has newly become a problem in it.

use std::collections::{BTreeMap, BTreeSet};

use super::Applier;
use super::kubernetes_event::event;
use crate::api::condition::{Condition, ConditionStatus, ConditionType, EventReason, Reason};
use crate::api::resource::{NotifiedMarks, UNDELIVERED};
use crate::store::{ObjectRef, Store};

impl<S: Store> Applier<S> {
    /// An Event for each condition that shows a problem now and did not before. What two conditions say of one
    /// problem is one Event.
    pub(super) async fn report_new_problems(
        &self,
        object: &ObjectRef,
        before: &[Condition],
        now: &[Condition],
    ) {
        let mut reported = BTreeSet::new();
        for condition in now.iter().filter(|condition| is_problem(condition)) {
            let is_known = before.iter().any(|known| {
                known.r#type == condition.r#type
                    && known.status == condition.status
                    && known.reason == condition.reason
            });
            let message = format!("{}: {}", condition.reason, condition.message);
            if is_known || !reported.insert(message.clone()) {
                continue;
            }
            let reason = match condition.r#type {
                ConditionType::Served => EventReason::NotServed,
                _ => EventReason::Degraded,
            };
            self.store.record_event(&event(object.clone(), reason, message)).await;
        }
    }

    /// An Event for each subscription whose notifications have been overdue since this status.
    pub(super) async fn report_overdue_notifications(
        &self,
        object: ObjectRef,
        before: Option<&BTreeMap<String, NotifiedMarks>>,
        now: &BTreeMap<String, NotifiedMarks>,
    ) {
        for (subscription, marks) in now {
            let known = before.and_then(|before| before.get(subscription)?.get(UNDELIVERED));
            if let (Some(overdue), None) = (marks.get(UNDELIVERED), known) {
                let message = format!("{subscription} has not received {overdue}");
                let event = event(object.clone(), EventReason::NotificationFailed, message);
                self.store.record_event(&event).await;
            }
        }
    }
}

fn is_problem(condition: &Condition) -> bool {
    // An object that is new, or on its way out, has no problem.
    if matches!(condition.reason, Reason::Issuing | Reason::Creating | Reason::Deleting) {
        return false;
    }
    match condition.r#type {
        ConditionType::Ready | ConditionType::Published | ConditionType::Served => {
            condition.status == ConditionStatus::False
        }
        ConditionType::Degraded | ConditionType::RollbackRefused | ConditionType::SettingsRejected => {
            condition.status == ConditionStatus::True
        }
        // They repeat what Ready says, or are no problem.
        ConditionType::Reconciling
        | ConditionType::Stalled
        | ConditionType::Queued
        | ConditionType::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_spec_is_a_problem_and_an_object_on_its_way_is_none() {
        let condition = |r#type, status, reason| Condition { r#type, status, reason, ..Condition::default() };
        let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
        for (condition, expected) in [
            (condition(ConditionType::Ready, no, Reason::InvalidSpec), true),
            (condition(ConditionType::Ready, yes, Reason::ActionFailed), false),
            (condition(ConditionType::Ready, no, Reason::Issuing), false),
            (condition(ConditionType::Ready, no, Reason::Deleting), false),
            (condition(ConditionType::Published, no, Reason::Expired), true),
            (condition(ConditionType::Published, no, Reason::Issuing), false),
            (condition(ConditionType::Degraded, yes, Reason::InvalidSpec), true),
            (condition(ConditionType::SettingsRejected, yes, Reason::InvalidSettings), true),
            (condition(ConditionType::Stalled, yes, Reason::InvalidSpec), false),
            (condition(ConditionType::Reconciling, yes, Reason::WaitingForTrust), false),
        ] {
            assert_eq!(is_problem(&condition), expected, "{condition:?}");
        }
    }
}
