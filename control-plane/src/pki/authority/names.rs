//! The names in a certificate. What passes here is what peers, Kubernetes and SPIFFE accept; what
//! does not is refused with the rule it broke, because a name that no peer accepts is an outage.

use rcgen::SanType;
use rustls_pki_types::DnsName;

use super::{AuthorityError, LeafRequest};

/// X.520's upper bound.
const COMMON_NAME_MAX: usize = 64;
/// The SPIFFE standard's upper bounds, in bytes.
const SPIFFE_ID_MAX: usize = 2048;
const TRUST_DOMAIN_MAX: usize = 255;

pub(super) fn common_name(name: &str) -> Result<&str, AuthorityError> {
    let problem = if name.trim().is_empty() {
        "is empty: name the service or the authority"
    } else if name.chars().count() > COMMON_NAME_MAX {
        "is longer than 64 characters: shorten it, the full name belongs into the DNS names"
    } else if name.chars().any(char::is_control) {
        "has control characters: remove them"
    } else {
        return Ok(name);
    };
    Err(AuthorityError::InvalidCommonName { name: name.to_owned(), problem })
}

pub(super) fn subject_alt_names(request: &LeafRequest) -> Result<Vec<SanType>, AuthorityError> {
    let mut names: Vec<SanType> = request.ip_addresses.iter().copied().map(SanType::IpAddress).collect();
    for name in &request.dns_names {
        let invalid = |problem| AuthorityError::InvalidDnsName { name: name.clone(), problem };
        dns_problem(name).map_or(Ok(()), |problem| Err(invalid(problem)))?;
        names.push(SanType::DnsName(
            name.as_str().try_into().map_err(|_| invalid("is not ASCII: write it as punycode"))?,
        ));
    }
    if let Some(id) = &request.spiffe_id {
        let invalid = |problem| AuthorityError::InvalidSpiffeId { id: id.clone(), problem };
        spiffe_problem(id).map_or(Ok(()), |problem| Err(invalid(problem)))?;
        names.push(SanType::URI(id.as_str().try_into().map_err(|_| invalid("is not ASCII"))?));
    }
    if names.is_empty() { Err(AuthorityError::NoNames) } else { Ok(names) }
}

fn dns_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty: give a host name such as payments.shop.svc")
    } else if name.ends_with('.') {
        Some("ends in a dot: certificates carry names without it")
    } else if !name.is_ascii() {
        Some("is not ASCII: write it as punycode")
    } else if name.contains('_') {
        Some("has an underscore: host names are letters, digits, hyphens and dots")
    } else if name.parse::<std::net::IpAddr>().is_ok() {
        Some("is an IP address: give the host name that clients connect to")
    } else if DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_err() {
        Some(
            "is not a host name: labels are 1 to 63 letters, digits and hyphens, joined by dots, \
             253 characters in all; a wildcard is the whole leftmost label",
        )
    } else {
        None
    }
}

fn spiffe_problem(id: &str) -> Option<&'static str> {
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return Some("does not begin with spiffe://");
    };
    let Some((trust_domain, path)) = rest.split_once('/') else {
        return Some("has no path: a workload's ID is spiffe://trust-domain/path");
    };
    let domain_character =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let path_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if id.len() > SPIFFE_ID_MAX {
        Some("is longer than 2048 bytes")
    } else if trust_domain.is_empty() {
        Some("has no trust domain: it is spiffe://trust-domain/path")
    } else if trust_domain.len() > TRUST_DOMAIN_MAX {
        Some("has a trust domain longer than 255 bytes")
    } else if !trust_domain.chars().all(domain_character) {
        Some("has a trust domain with other characters than a-z, 0-9, dot, hyphen, underscore")
    } else if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("has an empty, \".\" or \"..\" path segment: remove doubled and trailing slashes")
    } else if !path.split('/').all(|segment| segment.chars().all(path_character)) {
        Some("has a path with other characters than letters, digits, dot, hyphen, underscore")
    } else {
        None
    }
}
