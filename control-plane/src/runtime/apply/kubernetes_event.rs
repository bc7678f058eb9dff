//! The Kubernetes Events that applied actions cause.

use crate::api::condition::EventReason;
use crate::store::{EventRecord, ObjectRef};

pub fn event(object: ObjectRef, reason: EventReason, message: String) -> EventRecord {
    EventRecord { object, warning: is_warning(reason), reason, message }
}

/// Whether the Event has the type Warning.
pub fn is_warning(reason: EventReason) -> bool {
    match reason {
        EventReason::Issued
        | EventReason::Fetched
        | EventReason::RolledBack
        | EventReason::RootImported
        | EventReason::RootCreated
        | EventReason::RolloverStarted
        | EventReason::RolloverAdvanced
        | EventReason::RolloverEnded => false,
        EventReason::NotServed
        | EventReason::Degraded
        | EventReason::NotificationFailed
        | EventReason::ProblemReported
        | EventReason::RolloverReversed
        | EventReason::Overridden
        | EventReason::RootRemoved
        | EventReason::KeyringOutdated
        | EventReason::KeyringAccepted
        | EventReason::RequestHandled => true,
    }
}
