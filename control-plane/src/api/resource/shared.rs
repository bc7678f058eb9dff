//! What the two objects have in common.

use std::collections::BTreeMap;

/// Durations as humantime reads them: 90d, 2160h, 1h 30m.
pub(super) const DURATION: &str =
    r"^([0-9]+ ?(s|sec|secs|seconds?|m|min|mins|minutes?|h|hr|hrs|hours?|d|days?|w|weeks?|ms|y|years?) ?)+$";

/// Names of clusters.
pub(super) const CLUSTER: &str = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";

/// Of one subscription: by channel, the last mark that was delivered.
pub type NotifiedMarks = BTreeMap<String, String>;

/// In [`NotifiedMarks`], the key of what could not be delivered for a while, and why.
pub const UNDELIVERED: &str = "undelivered";
