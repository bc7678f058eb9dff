//! Conditions of the objects' status and the events about them: which types there are, and which reasons. Every
//! one that is written or compared anywhere is a variant here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An enum whose variants are written as they are named.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident,)+ }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    #[derive(Default)]
    ConditionType {
        /// The spec is in force: it is not refused, and a valid certificate is published; a valid root signs.
        Ready,
        /// A valid certificate is published, whatever becomes of the spec: what was published before a change that
        /// is refused serves on.
        Published,
        /// Every pod that mounts the Secret serves what is published.
        Served,
        /// Something that is due cannot be done. The condition exists only while that is so.
        Degraded,
        /// The spec is not in force yet, and is applied without a change of it when its reason ends. The condition
        /// exists only while that is so; kstatus (Flux) waits for its end.
        Reconciling,
        /// The spec is refused until a person changes something. The condition exists only while that is so; kstatus
        /// (Flux) reports a failure.
        Stalled,
        /// The last requested rollback was refused; the message says why.
        RollbackRefused,
        /// Of a controller of 0.2: another rollover was requested, and begins when the current one has ended.
        Queued,
        /// The controller's notification settings are invalid: those before them stay in force, or none. Every authority
        /// has this condition while that is so; the message has the file and the lines.
        SettingsRejected,
        /// Written by another version of hotcert.
        #[default]
        #[serde(other)]
        Other,
    }
}

words! {
    #[derive(Default)]
    ConditionStatus {
        True,
        False,
        #[default]
        #[serde(other)]
        Unknown,
    }
}

words! {
    /// Why a condition has its status. What each means, and what to do about it.
    #[derive(Default)]
    Reason {
        /// A valid certificate is published. Nothing to do.
        Published,
        /// The first certificate has not been published yet. Wait.
        Issuing,
        /// What is published, or the root, has expired. Other conditions and the controller's log say what kept
        /// it from being renewed.
        Expired,
        /// The spec is invalid, and the message lists every fault. Correct the spec.
        InvalidSpec,
        /// The authority that the certificate names does not exist. Create it, or name another.
        AuthorityNotFound,
        /// The spec of the certificate's authority is invalid. Correct the authority.
        InvalidAuthority,
        /// The certificate's authority is being deleted, and nothing more may be expected of it. Name another authority.
        AuthorityDeleting,
        /// The certificate's authority has no root yet, or its keyring cannot be read. See the authority's
        /// conditions.
        RootNotReady,
        /// The certificate's authority has no root that is valid now. Start a rollover, or correct the clock.
        RootExpired,
        /// The object is being deleted. The Secret of a certificate stays.
        Deleting,
        /// The target Secret exists and belongs to something else. Choose another `secretName`.
        ForeignSecret,
        /// The target Secret cannot be read or written. The message says what access is missing.
        NoAccess,
        /// The new leaf waits until every pod trusts the new root. It is published when the rollover has come so
        /// far.
        WaitingForTrust,
        /// The certificate names another authority, or a manager, than before. Its pods first trust both and then show
        /// a new leaf, each step when every pod has taken the one before; `status.served.byPod` has those that have not.
        MovingTrust,
        /// The keyring is older than what is in use, because it was restored: nothing is issued and no root is
        /// retired. Restore a newer one, or accept this one.
        KeyringOutdated,
        /// The first certificate has not been fetched from its manager. A controller that knows the manager has
        /// to run.
        WaitingForManager,
        /// The controller's settings do not name this manager. Add it to them, or correct `manager.name`.
        UnknownManager,
        /// The certificate could not be fetched from its manager. It is tried again; the message has the cause.
        NotFetched,
        /// The certificate could not be pushed to its manager. It is tried again; the message has the cause.
        NotPushed,
        /// An action failed. It is tried again; the message has the action and the cause.
        ActionFailed,
        /// Served: every pod serves what is published.
        Served,
        /// Served: no pod mounts the Secret.
        NoPods,
        /// Served: pods do not serve what is published although they had the time. `status.served.byPod` has the
        /// cause for each.
        NotServedInTime,
        /// Served: pods are being probed.
        Probing,
        /// Served: the namespace's pods cannot be listed. The message has the cause.
        PodsNotListed,
        /// The rollback was refused. The message has the cause.
        Refused,
        /// Ready authority: its root signs.
        Usable,
        /// Ready authority: it has no root yet. Wait.
        Creating,
        /// What is published, or the root, is not valid yet. Correct the clock, or wait.
        NotYetValid,
        /// The authority signs, and something about it needs a person. The message says what.
        NeedsAttention,
        /// The authority cannot sign. The message has the cause.
        NotUsable,
        /// Queued: a rollover is in progress.
        RolloverInProgress,
        /// SettingsRejected: the settings file is invalid. Correct it; `hotcert check --notifications FILE` reads one.
        InvalidSettings,
        /// Written by another version of hotcert.
        #[default]
        #[serde(other)]
        Other,
    }
}

words! {
    /// What an event about an object says.
    EventReason {
        /// A new leaf was signed.
        Issued,
        /// A new leaf was fetched from the manager.
        Fetched,
        /// An earlier version was published again.
        RolledBack,
        /// Pods do not serve what is published although they had the time.
        NotServed,
        /// A condition says that the object needs attention.
        Degraded,
        /// A notification could not be delivered for a while.
        NotificationFailed,
        /// A sender of notifications reports that something failed or is blocked there.
        ProblemReported,
        /// The root that the spec names was imported.
        RootImported,
        /// A root was made.
        RootCreated,
        /// A rollover began.
        RolloverStarted,
        /// A rollover entered its next phase.
        RolloverAdvanced,
        /// A rollover ended.
        RolloverEnded,
        /// A rollover was reversed on request.
        RolloverReversed,
        /// A rollover goes on without some pods, on request.
        Overridden,
        /// A root was removed at once, on request.
        RootRemoved,
        /// A root is in use that the authority's keyring does not know: it was restored from before that root.
        KeyringOutdated,
        /// A keyring counts although it does not know a root that is in use, on request.
        KeyringAccepted,
        /// A request was handled without a change, or refused.
        RequestHandled,
    }
}

/// A condition as in every Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What the condition is about: Ready, Published, Served, Degraded, Reconciling, Stalled, RollbackRefused,
    /// Queued or SettingsRejected.
    #[schemars(with = "String")]
    pub r#type: ConditionType,
    /// True, False or Unknown.
    #[schemars(with = "String")]
    pub status: ConditionStatus,
    /// Why the condition has this status, one word in CamelCase.
    #[schemars(with = "String")]
    pub reason: Reason,
    /// Details for a person.
    pub message: String,
    /// When the status changed last, RFC 3339.
    pub last_transition_time: String,
    /// Generation of the spec that the condition was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// The condition of this type among those of an object.
    pub fn find(conditions: &[Self], of_type: ConditionType) -> Option<&Self> {
        conditions.iter().find(|condition| condition.r#type == of_type)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reasons_are_written_as_they_are_named() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), json!(reason.as_str()));
            assert_eq!(serde_json::from_value::<Reason>(json!(reason.as_str())).unwrap(), *reason);
        }
    }

    #[test]
    fn a_condition_of_another_version_is_read() {
        let condition: Condition =
            serde_json::from_value(json!({ "type": "Polished", "status": "Perhaps", "reason": "Shines" }))
                .unwrap();
        assert_eq!(
            (condition.r#type, condition.status, condition.reason),
            (ConditionType::Other, ConditionStatus::Unknown, Reason::Other)
        );
    }
}
