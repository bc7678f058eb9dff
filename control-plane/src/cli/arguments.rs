//! Arguments that several commands share, and the parsers of their values.

use std::time::Duration;

use clap::Args;

use crate::api::duration;
use crate::api::object_name::{ObjectName, ObjectNameError};
use crate::api::resource::ManagerRef;

/// The longest duration that makes sense as an argument.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait for the result, such as 30s, 5m or 1h; the request stays open afterwards
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// NAMESPACE/NAME.
pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|_: ObjectNameError| "write NAMESPACE/NAME, such as shop/mtls-prod-payments".into())
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err("write at most ten years, 3660d".into()),
        Err(_) => Err("write a number and a unit, such as 30s, 10m, 36h or 90d".into()),
    }
}

/// MANAGER/ID.
pub(super) fn manager_ref(text: &str) -> Result<ManagerRef, String> {
    match text.split_once('/') {
        Some((name, id)) if !name.is_empty() && !id.is_empty() => {
            Ok(ManagerRef { name: name.to_owned(), id: id.to_owned() })
        }
        _ => Err("write MANAGER/ID, such as ibm/payments".into()),
    }
}

/// NAMESPACE/POD.
pub(super) fn pod_name(text: &str) -> Result<String, String> {
    match text.parse::<ObjectName>() {
        Ok(pod) if !text.contains([',', ' ']) => Ok(pod.to_string()),
        _ => Err("write NAMESPACE/POD, such as shop/payments-0; repeat the option for each pod".into()),
    }
}

/// Of an authority, which is in no namespace.
pub(super) fn authority_name(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err(
            "rollover takes the name of an authority, such as root-prod-shop; a certificate is replaced \
                    with hotcert rotate"
                .into(),
        );
    }
    Ok(text.to_owned())
}

/// The first digits of a root's SHA-256, also as OpenSSL prints them: in capitals, with colons.
pub(super) fn root_digits(text: &str) -> Result<String, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    if !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err("write the first digits of a root's SHA-256, at least 8, as hotcert status shows them".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digits_are_taken_in_their_forms_only() {
        assert_eq!(pod_name("shop/payments-0"), Ok("shop/payments-0".into()));
        for wrong in ["payments-0", "shop/", "shop/a,shop/b", "shop/a b", "a/b/c"] {
            assert!(pod_name(wrong).is_err_and(|error| error.contains("NAMESPACE/POD")), "{wrong}");
        }
        assert!(
            authority_name("shop/mtls-prod-payments").is_err_and(|error| error.contains("hotcert rotate"))
        );
        assert_eq!(authority_name("root-prod-shop"), Ok("root-prod-shop".into()));
        assert_eq!(root_digits("AB:CD:01:23"), Ok("abcd0123".into()));
        for wrong in ["", ":", "root-prod-shop", "xyz"] {
            assert!(root_digits(wrong).is_err(), "{wrong}");
        }
    }
}
