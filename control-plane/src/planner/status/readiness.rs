//! What each reason means for the condition Ready, as one table. Ready is about the spec: it is false while the spec
//! is refused or cannot be carried out, although what was published before serves on, which the condition Published
//! says. What is only late, and tried again, leaves Ready as the published leaf or the root is.

use crate::api::condition::Reason;

/// What a reason means for Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// False until a person changes something: Stalled beside it.
    Refuses,
    /// False, and ends without a change of the object: Reconciling beside it.
    Blocks,
    /// False, and nothing more is expected: the object is being deleted.
    Ends,
    /// Ready is as the published leaf or the root is. While the spec is not in force, Reconciling beside it.
    Keeps,
    /// It is a reason of other conditions.
    Elsewhere,
}

impl Effect {
    /// Without a wildcard: a new reason has to be decided here.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::InvalidSpec
            | Reason::ForeignSecret
            | Reason::UnknownManager
            | Reason::KeyringOutdated => Self::Refuses,
            // They may be applied later than what needs them, so an applier has to wait and not to give up.
            Reason::AuthorityNotFound
            | Reason::InvalidAuthority
            | Reason::AuthorityDeleting
            | Reason::RootNotReady
            | Reason::RootExpired
            | Reason::NoAccess
            | Reason::WaitingForManager
            | Reason::Issuing
            | Reason::Creating
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::NotUsable => Self::Blocks,
            Reason::Deleting => Self::Ends,
            Reason::WaitingForTrust
            | Reason::MovingTrust
            | Reason::NotFetched
            | Reason::NotPushed
            | Reason::ActionFailed
            | Reason::NeedsAttention
            | Reason::Published
            | Reason::Usable => Self::Keeps,
            Reason::Served
            | Reason::NoPods
            | Reason::NotServedInTime
            | Reason::Probing
            | Reason::PodsNotListed
            | Reason::Refused
            | Reason::RolloverInProgress
            | Reason::InvalidSettings
            | Reason::Other => Self::Elsewhere,
        }
    }

    /// Whether Ready may be true.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Keeps | Self::Elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_or_blocks_a_spec_makes_it_unready_and_what_is_tried_again_does_not() {
        let of = |effect: Effect| {
            let reasons = Reason::ALL.iter().filter(move |reason| Effect::of(**reason) == effect);
            reasons.map(|reason| reason.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(Effect::Refuses), "InvalidSpec ForeignSecret KeyringOutdated UnknownManager");
        assert_eq!(
            of(Effect::Blocks),
            "Issuing Expired AuthorityNotFound InvalidAuthority AuthorityDeleting RootNotReady RootExpired NoAccess \
             WaitingForManager Creating NotYetValid NotUsable"
        );
        assert_eq!(of(Effect::Ends), "Deleting");
        assert_eq!(
            of(Effect::Keeps),
            "Published WaitingForTrust MovingTrust NotFetched NotPushed ActionFailed Usable NeedsAttention"
        );
    }
}
