//! Annotations by which an object is asked for something once. The value is an id and, after a space, the
//! request's parameters; a request with the same id is handled once.

pub const ROTATE: &str = "hotcert.dev/rotate";
pub const ROLLBACK: &str = "hotcert.dev/rollback";
pub const ROLLOVER: &str = "hotcert.dev/rollover";
pub const REVERSE: &str = "hotcert.dev/reverse";
pub const OVERRIDE: &str = "hotcert.dev/override";
pub const REMOVE_ROOT: &str = "hotcert.dev/remove-root";
/// Written by the receiver of notifications.
pub const RENEWAL_HINT: &str = "hotcert.dev/renewal-hint";
