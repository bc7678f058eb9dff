//! Whether a root has a successor.

use crate::pki::keyring::RootId;
use crate::planner::observed::{Authority, KeyringView};

pub const NO_SUCCESSOR: &str =
    "the root is imported: put its successor into the Secret that spec.import names";

/// Whether there is another root to roll over to. One that was removed by force does not count.
pub fn has_successor(authority: &Authority, keyring: &KeyringView) -> bool {
    let is_removed = |root: &RootId| {
        let mut past = keyring.state.rollover_history.iter();
        past.any(|past| past.rollover.forced && past.rollover.from == *root)
    };
    match &authority.import {
        Some(Ok(root)) => !keyring.roots.contains_key(root) && !is_removed(root),
        Some(Err(_)) => false,
        None => true,
    }
}

/// Why a transition is made: what happened, and what the request says of it.
pub fn transition_reason(what: &str, arguments: &str) -> String {
    if arguments.is_empty() { what.to_owned() } else { format!("{what}: {arguments}") }
}
