//! The verbs by which an object is asked for something once. A request is an annotation `hotcert.dev/VERB` in a cluster,
//! and an entry of the requests file in a directory. Its value is an id and, after a space, the arguments; a request with
//! the same id is handled once.

use std::fmt;

/// A new leaf now.
pub const ROTATE: &str = "rotate";
/// An earlier version of a certificate; `to=N` names it.
pub const ROLLBACK: &str = "rollback";
/// A new root for an authority.
pub const ROLLOVER: &str = "rollover";
/// The old root again, in any phase of a rollover.
pub const REVERSE: &str = "reverse";
/// The next phase without the pods, certificates and namespaces that are named.
pub const OVERRIDE: &str = "override";
/// A compromised root, out of every bundle at once.
pub const REMOVE_ROOT: &str = "remove-root";
/// An authority's keyring as it is, although pods trust a root that it does not know.
pub const ACCEPT_KEYRING: &str = "accept-keyring";
/// Written by the receiver of notifications: a certificate expires or must not be used, says its manager.
pub const RENEWAL_HINT: &str = "renewal-hint";

pub const VERBS: [&str; 8] =
    [ROTATE, ROLLBACK, ROLLOVER, REVERSE, OVERRIDE, REMOVE_ROOT, ACCEPT_KEYRING, RENEWAL_HINT];

/// Before the id of a renewal hint that reports a revocation: the versions that are made for it say so for good.
const REVOCATION: &str = "revoked-";

/// The id of a renewal hint that reports a revocation.
pub fn revocation(id: &str) -> String {
    format!("{REVOCATION}{id}")
}

/// Whether a request with this id reports a revocation.
pub fn is_revocation(id: &str) -> bool {
    id.starts_with(REVOCATION)
}

/// What became of a request about an authority, as its status and keyring store it: `refused: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// A rollover was begun.
    Begun,
    /// The rollover was reversed.
    Reversed,
    /// The rollover continues without the pods.
    Overridden,
    /// The root was removed.
    Removed,
    /// The keyring was accepted.
    Accepted,
    /// Why there was nothing to do.
    NothingToDo(String),
    /// Why the request was refused.
    Refused(String),
    /// Written by another version of hotcert.
    Other(String),
}

const BEGUN: &str = "begun";
const REVERSED: &str = "reversed";
const OVERRIDDEN: &str = "the rollover goes on without them";
const REMOVED: &str = "removed";
const ACCEPTED: &str = "accepted";
const NOTHING_TO_DO: &str = "nothing to do";
const REFUSED: &str = "refused";

impl RequestOutcome {
    /// In words; the stored form is another.
    pub fn text(&self) -> String {
        match self {
            Self::Begun => "started".into(),
            Self::Overridden => "continued without the named pods".into(),
            stored => stored.to_string(),
        }
    }

    pub fn parse(text: &str) -> Self {
        match (text, text.split_once(": ")) {
            (BEGUN, _) => Self::Begun,
            (REVERSED, _) => Self::Reversed,
            (OVERRIDDEN, _) => Self::Overridden,
            (REMOVED, _) => Self::Removed,
            (ACCEPTED, _) => Self::Accepted,
            (_, Some((NOTHING_TO_DO, why))) => Self::NothingToDo(why.to_owned()),
            (_, Some((REFUSED, why))) => Self::Refused(why.to_owned()),
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for RequestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => f.write_str(BEGUN),
            Self::Reversed => f.write_str(REVERSED),
            Self::Overridden => f.write_str(OVERRIDDEN),
            Self::Removed => f.write_str(REMOVED),
            Self::Accepted => f.write_str(ACCEPTED),
            Self::NothingToDo(why) => write!(f, "{NOTHING_TO_DO}: {why}"),
            Self::Refused(why) => write!(f, "{REFUSED}: {why}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<RequestOutcome> for String {
    fn from(outcome: RequestOutcome) -> Self {
        outcome.to_string()
    }
}

/// Why a rollover was started or reversed, in words, from what its status stores: `requested`, `noticed: …`.
pub fn reason_text(stored: &str) -> String {
    let (what, why) = stored.split_once(": ").unwrap_or((stored, ""));
    let what = match what {
        "requested" => "on request",
        "noticed" => "on a notification",
        "reversed" => "reversed on request",
        _ => return stored.to_owned(),
    };
    if why.is_empty() { format!("{what}, no reason given") } else { format!("{what}: {why}") }
}

/// Why no other rollover is begun, and what to do instead.
pub fn rollover_under_way(authority: &str) -> String {
    format!(
        "a rollover of {authority} is under way: follow it with hotcert rollover {authority} --follow, or go back with \
         --reverse; repeat the request when it has ended"
    )
}

/// The annotation that holds a request.
pub fn annotation(verb: &str) -> String {
    format!("hotcert.dev/{verb}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_shown_in_words() {
        for (stored, shown) in [
            ("requested", "on request, no reason given"),
            ("requested: yearly: really", "on request: yearly: really"),
            ("the root expires at 2026-01-01T00:00:00Z", "the root expires at 2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(reason_text(stored), shown);
        }
    }

    #[test]
    fn outcomes_are_read_as_they_are_written() {
        for text in [
            "begun",
            "reversed",
            "the rollover goes on without them",
            "removed",
            "nothing to do: the root is being replaced",
            "refused: the spec is wrong: namespaces: list them",
            "of another version",
        ] {
            let outcome = RequestOutcome::parse(text);
            assert_eq!(outcome.to_string(), text);
            assert_eq!(matches!(outcome, RequestOutcome::Other(_)), text.starts_with("of"), "{text}");
        }
    }
}
