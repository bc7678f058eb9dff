//! Arguments that several commands share, and the parsers of their values.

use std::time::Duration;

use clap::Args;

use crate::api::duration;
use crate::api::object_name::{ObjectName, ObjectNameError};
use crate::api::resource::{Kind, ManagerRef, Naming};
use crate::store::codec::name;

/// For names of objects.
const NAME_RULE: &str = "lower-case letters, digits, hyphens and dots, with a letter or a digit at both ends";
/// The longest duration that makes sense as an argument.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait for the result, such as 30s, 5m or 1h; the request stays open afterwards
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// NAMESPACE/NAME of a certificate.
pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|_: ObjectNameError| match text.parse::<Naming>() {
        Ok(naming) if naming.kind == Kind::Root => {
            format!("{text} is an authority: use hotcert rollover, or write NAMESPACE/NAME of a certificate")
        }
        Ok(_) => format!("write its namespace too, NAMESPACE/{text}"),
        Err(_) => "write NAMESPACE/NAME, such as shop/mtls-prod-payments".into(),
    })
}

/// NAMESPACE/NAME of a certificate that is to be created.
pub(super) fn new_certificate_name(text: &str) -> Result<ObjectName, String> {
    let name = object_name(text)?;
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(format!("use lower case: {}", text.to_ascii_lowercase()));
    }
    if [&name.namespace, &name.name].into_iter().all(|part| name::is_valid(part)) {
        return Ok(name);
    }
    Err(format!("use {NAME_RULE}"))
}

pub(super) fn secret_name(text: &str) -> Result<String, String> {
    if name::is_valid(text) { Ok(text.to_owned()) } else { Err(format!("use {NAME_RULE}")) }
}

/// Of each version of a certificate; the authority has a maximum.
pub(super) fn lifetime(text: &str) -> Result<String, String> {
    if parse_duration(text)? < Duration::from_secs(1) {
        return Err("write at least 1s".into());
    }
    Ok(text.to_owned())
}

/// Of a certificate.
pub(super) fn version_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write the number of a version, such as 3; hotcert history shows them".into())
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
    fn a_name_of_another_kind_says_which_command_or_form_it_needs() {
        let error = |text| object_name(text).err().unwrap_or_default();
        assert!(error("root-local-shop").contains("is an authority: use hotcert rollover"));
        assert!(error("mtls-local-other").contains("NAMESPACE/mtls-local-other"));
        for (text, said) in [
            ("shop/mtls-local-Payments", "use lower case: shop/mtls-local-payments"),
            ("shop/mtls-local-pay_ments", "use lower-case letters"),
        ] {
            assert!(new_certificate_name(text).is_err_and(|error| error.contains(said)), "{text}");
        }
        assert!(new_certificate_name("shop/mtls-local-payments").is_ok());
        assert!(secret_name("Bad/Name").is_err() && secret_name("payments-tls").is_ok());
        assert!(lifetime("500ms").is_err() && lifetime("1s").is_ok() && version_number("v1").is_err());
    }

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
