//! The verbs by which an object is asked for something once. A request is an annotation `hotcert.dev/VERB` in a cluster,
//! and an entry of the requests file in a directory. Its value is an id and, after a space, the arguments; a request with
//! the same id is handled once.

/// A new leaf now.
pub const ROTATE: &str = "rotate";
/// An earlier version of a certificate; `to=N` names it.
pub const ROLLBACK: &str = "rollback";
/// A new root for an authority.
pub const ROLLOVER: &str = "rollover";
/// The old root again, in any phase of a rollover.
pub const REVERSE: &str = "reverse";
/// The next phase without the pods that are named.
pub const OVERRIDE: &str = "override";
/// A compromised root, out of every bundle at once.
pub const REMOVE_ROOT: &str = "remove-root";
/// Written by the receiver of notifications: a certificate expires or must not be used, says its manager.
pub const RENEWAL_HINT: &str = "renewal-hint";

pub const VERBS: [&str; 7] = [ROTATE, ROLLBACK, ROLLOVER, REVERSE, OVERRIDE, REMOVE_ROOT, RENEWAL_HINT];

/// The annotation that holds a request.
pub fn annotation(verb: &str) -> String {
    format!("hotcert.dev/{verb}")
}
