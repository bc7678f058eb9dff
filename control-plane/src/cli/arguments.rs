//! Arguments that several commands share, and the parsers of their values.

use std::time::Duration;

use clap::Args;
use hotcert_tls::SpiffeId;

use crate::api::duration;
use crate::api::object_name::{ObjectName, ObjectNameError};
use crate::api::resource::{Kind, ManagerRef, Naming};
use crate::store::ObjectRef;
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

/// Of SPIFFE IDs.
pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    let id = format!("spiffe://{text}/workload").parse::<SpiffeId>();
    if id.is_ok_and(|id| id.trust_domain() == text) {
        return Ok(text.to_owned());
    }
    Err("use lower-case letters, digits, dots, hyphens and underscores, such as prod.example.org".into())
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

/// What a rollover may continue without: NAMESPACE/POD, NAMESPACE/CERTIFICATE, or NAMESPACE/* for what cannot be listed.
pub(super) fn override_target(text: &str) -> Result<String, String> {
    let is_name = |name: &str| !name.contains([',', '*']) && !name.contains(char::is_whitespace);
    match text.parse::<ObjectName>() {
        Ok(ObjectName { namespace, name }) if is_name(&namespace) && (is_name(&name) || name == "*") => {
            Ok(text.to_owned())
        }
        _ => Err(
            "write NAMESPACE/POD, such as shop/payments-0, NAMESPACE/CERTIFICATE, or 'NAMESPACE/*' for a \
                  namespace that cannot be listed, as the rollover names them; repeat the option for each"
                .into(),
        ),
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

/// NAMESPACE/NAME of a certificate, or NAME of an authority.
pub(super) fn object_ref(text: &str) -> Result<ObjectRef, String> {
    if let Ok(certificate) = text.parse() {
        return Ok(ObjectRef::Certificate(certificate));
    }
    match text.parse::<Naming>() {
        Ok(naming) if naming.kind != Kind::Root => {
            Err(format!("{text} is the name of a certificate: write its namespace too, NAMESPACE/{text}"))
        }
        _ if name::is_valid(text) => Ok(ObjectRef::Authority(text.to_owned())),
        _ => Err("write NAMESPACE/NAME of a certificate, such as shop/mtls-prod-payments, or NAME of an authority, \
                  such as root-prod-shop"
            .into()),
    }
}

/// How many digits of a root's SHA-256 are shown.
const ROOT_DIGITS: usize = 12;
/// How many of them tell roots apart for sure.
const MIN_ROOT_DIGITS: usize = 8;

/// A root as every command shows it: the first digits of its SHA-256.
pub(super) fn short_root(sha256: &str) -> &str {
    if sha256.is_empty() { "-" } else { sha256.get(..ROOT_DIGITS).unwrap_or(sha256) }
}

/// The first digits of a root's SHA-256, also as OpenSSL prints them: in capitals, with colons.
pub(super) fn root_digits(text: &str) -> Result<String, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    let is_prefix = (MIN_ROOT_DIGITS..=64).contains(&digits.len());
    if is_prefix && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(format!(
        "write the first digits of a root's SHA-256, at least {MIN_ROOT_DIGITS}, as hotcert status shows them under \
         ROOT"
    ))
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
        assert!(trust_domain("prod.example.org").is_ok() && trust_domain("spiffe://prod").is_err());
        assert!(lifetime("500ms").is_err() && lifetime("1s").is_ok() && version_number("v1").is_err());
    }

    #[test]
    fn names_and_digits_are_taken_in_their_forms_only() {
        for target in ["shop/payments-0", "shop/mtls-prod-payments", "shop/*"] {
            assert_eq!(override_target(target), Ok(target.into()));
        }
        for wrong in ["payments-0", "shop/", "shop/a,shop/b", "shop/a b", "a/b/c", "*/a", "*", "shop/pay*"] {
            assert!(override_target(wrong).is_err_and(|error| error.contains("NAMESPACE/POD")), "{wrong}");
        }
        assert!(
            authority_name("shop/mtls-prod-payments").is_err_and(|error| error.contains("hotcert rotate"))
        );
        assert_eq!(authority_name("root-prod-shop"), Ok("root-prod-shop".into()));
        assert_eq!(root_digits("AB:CD:01:23"), Ok("abcd0123".into()));
        for wrong in ["", ":", "root-prod-shop", "xyz", "abcd012"] {
            assert!(root_digits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_object_is_a_certificate_with_its_namespace_or_an_authority() {
        let shown = |text| object_ref(text).map(|object| object.to_string());
        for name in ["shop/mtls-prod-payments", "root-prod-shop"] {
            assert_eq!(shown(name), Ok(name.to_owned()));
        }
        assert!(
            shown("mtls-prod-payments").is_err_and(|error| error.contains("NAMESPACE/mtls-prod-payments"))
        );
        assert!(shown("a/b/c").is_err_and(|error| error.contains("NAMESPACE/NAME")));
    }

    #[test]
    fn a_root_is_shown_in_as_many_digits_as_are_taken() {
        let sha256 = "0123456789abcdef".repeat(4);
        assert_eq!(short_root(&sha256), "0123456789ab");
        assert_eq!(root_digits(short_root(&sha256)), Ok("0123456789ab".into()));
        assert_eq!(short_root(""), "-");
    }
}
