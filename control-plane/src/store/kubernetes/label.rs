//! Labels, by which our Secrets are recognized and watched, and annotations, which hold what the data of a Secret
//! has no place for.

use std::time::SystemTime;

use crate::store::kubernetes::secret_object::SecretObject;

pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const HOTCERT: &str = "hotcert";
/// On a target Secret: the certificate that it is published by.
pub const CERTIFICATE: &str = "hotcert.dev/certificate";
/// On a kept version: the certificate that it is one of.
pub const VERSION_OF: &str = "hotcert.dev/version-of";
/// On a Secret that others issue: watch its expiry.
pub const WATCH: &str = "hotcert.dev/watch";

pub const VERSION: &str = "hotcert.dev/version";
pub const PUBLISHED_AT: &str = "hotcert.dev/published-at";
pub const ROOT: &str = "hotcert.dev/root";
pub const MADE_FOR: &str = "hotcert.dev/made-for";
pub const CREATED_AT: &str = "hotcert.dev/created-at";
pub const REQUEST: &str = "hotcert.dev/request";
pub const COPY_OF: &str = "hotcert.dev/copy-of";
/// For people who read the history without the keys.
pub const SERIAL: &str = "hotcert.dev/serial";
pub const NOT_AFTER: &str = "hotcert.dev/not-after";
/// On a kept version that has no key any more.
pub const KEY_REMOVED: &str = "hotcert.dev/key-removed";
/// On a pod: the revision that it was nudged for.
pub const NUDGED: &str = "hotcert.dev/nudged";

pub fn date(at: SystemTime) -> String {
    crate::api::date::millis(at)
}

/// From an annotation, or the creation time of the object if the annotation is invalid.
pub fn date_of(object: &SecretObject, annotation: &str) -> SystemTime {
    let written = object.annotation(annotation).and_then(crate::api::date::parse);
    let made = || object.metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0));
    written.or_else(made).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub fn is_ours(object: &SecretObject) -> bool {
    object.label(MANAGED_BY) == Some(HOTCERT)
}
