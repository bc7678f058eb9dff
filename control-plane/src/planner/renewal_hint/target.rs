//! What a hint is compared with: the newest leaf of a certificate, or the root of an authority that signs; and how it
//! came to be.
//!
//! A revocation replaces a certificate before its time, and the next one can be reported revoked as well. So that whoever
//! has the credential of a sender cannot have keys replaced without end, no other revocation is followed for a while. The
//! commands are not held up by that.

use std::time::{Duration, SystemTime};

use super::RenewalHint;
use crate::api::date;
use crate::api::request;
use crate::pki::keyring::{Rollover, State};
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{Certificate, KeyringView};

/// After a certificate was replaced on a revocation.
pub const CERTIFICATE_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// After a rollover was begun on a revocation: it replaces every certificate of the authority.
pub const ROOT_PAUSE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What the reason of a rollover that was begun on a hint begins with.
pub const NOTICED: &str = "noticed";

pub struct Target {
    pub(super) leaf: Leaf,
    /// When it was made.
    pub(super) since: SystemTime,
    /// It was made on request, as for a hint.
    pub(super) requested: bool,
    /// Until when no other revocation is followed, and why.
    pub(super) paused: Option<(SystemTime, String)>,
}

impl Target {
    /// The newest leaf.
    pub fn of_certificate(certificate: &Certificate) -> Option<Self> {
        let (_, newest) = certificate.newest()?;
        let versions = certificate.versions.values();
        let revoked =
            versions.filter(|version| version.request.as_deref().is_some_and(request::is_revocation));
        let paused = revoked.map(|version| version.created_at).max().map(|at| {
            let until = after(at, CERTIFICATE_PAUSE);
            let why = format!(
                "it was replaced on a revocation at {}: on another it is not before {}, and hotcert rotate replaces it now",
                date::seconds(at),
                date::seconds(until)
            );
            (until, why)
        });
        Some(Self {
            leaf: newest.leaf.clone(),
            since: newest.created_at,
            requested: newest.request.is_some(),
            paused,
        })
    }

    /// The root that signs.
    pub fn of_root(keyring: &KeyringView) -> Option<Self> {
        let state = &keyring.state;
        let root = keyring.roots.get(state.signing())?;
        let paused = last_revocation(state).map(|at| {
            let until = after(at, ROOT_PAUSE);
            let why = format!(
                "its root was replaced on a revocation, or a person reversed a rollover, at {}: on another revocation it \
                 is not before {}, and hotcert rollover replaces it now",
                date::seconds(at),
                date::seconds(until)
            );
            (until, why)
        });
        Some(Self {
            leaf: root.leaf(state.signing()),
            since: root.not_before,
            requested: state.has_rolled_over(),
            paused,
        })
    }
}

/// When a rollover was begun on a revocation. One that was reversed counts: its reason is that of the reversal, and it
/// is not begun again by the next message.
fn last_revocation(state: &State) -> Option<SystemTime> {
    let past = state.rollover_history.iter().map(|past| &past.rollover);
    let of_revocation = |rollover: &&Rollover| {
        let hint = rollover.reason.strip_prefix(NOTICED).and_then(|rest| rest.strip_prefix(": "));
        rollover.reversed || hint.is_some_and(|words| RenewalHint::parse(words).revoked)
    };
    past.chain(state.rollover()).filter(of_revocation).map(|rollover| rollover.started_at).max()
}

fn after(at: SystemTime, pause: Duration) -> SystemTime {
    at.checked_add(pause).unwrap_or(at)
}
