//! What a leaf is made from, and the rules for its names. What passes here is what peers, Kubernetes and
//! SPIFFE accept; a name that no peer accepts would be an outage, so it is refused with the rule it breaks.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use hotcert_tls::{SpiffeId, SpiffeIdError};
use rustls_pki_types::DnsName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::algorithm::Algorithm;

/// X.520's upper bound.
const COMMON_NAME_MAX: usize = 64;

/// What a leaf may be used for: its extended key usages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
pub enum Usage {
    #[default]
    #[serde(rename = "mtls")]
    #[value(name = "mtls", help = "Server and client")]
    ServerAndClient,
    #[serde(rename = "server")]
    #[value(name = "server", help = "Server only")]
    ServerOnly,
    #[serde(rename = "client")]
    #[value(name = "client", help = "Client only")]
    ClientOnly,
}

impl Usage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerAndClient => "mtls",
            Self::ServerOnly => "server",
            Self::ClientOnly => "client",
        }
    }
}

/// What a leaf is made from; it needs at least one name: a DNS name, an address or a SPIFFE ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafRequest {
    /// The subject's common name, 1 to 64 characters; no peer checks it.
    pub common_name: String,
    /// Host names, the leftmost label may be `*`. No addresses, no trailing dot.
    pub dns_names: Vec<String>,
    /// For servers that clients know by address alone.
    pub ip_addresses: Vec<IpAddr>,
    /// `spiffe://trust-domain/path`.
    pub spiffe_id: Option<String>,
    pub algorithm: Algorithm,
    /// From `now` to the not-after, at least a second; cut at the authority's own not-after.
    pub lifetime: Duration,
    pub usage: Usage,
}

/// Which name of a certificate is invalid, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("common name {name:?}: {problem}")]
    CommonName { name: String, problem: &'static str },
    #[error(
        "the leaf has no name: give at least one DNS name, address or SPIFFE ID, peers check nothing else"
    )]
    NoNames,
    #[error("DNS name {name:?}: {problem}")]
    DnsName { name: String, problem: &'static str },
    #[error("SPIFFE ID {id:?}: {problem}")]
    SpiffeId { id: String, problem: SpiffeProblem },
}

/// Why a leaf is not issued with a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeProblem {
    #[error(transparent)]
    Invalid(#[from] SpiffeIdError),
    #[error("has upper case in its scheme or trust domain: write them in lower case")]
    UpperCase,
    #[error("is not ASCII")]
    NotAscii,
}

impl LeafRequest {
    /// Checks the names.
    pub fn validate(&self) -> Result<(), NameError> {
        validate_common_name(&self.common_name)?;
        for name in &self.dns_names {
            if let Some(problem) = dns_problem(name) {
                return Err(NameError::DnsName { name: name.clone(), problem });
            }
        }
        if let Some(id) = &self.spiffe_id
            && let Some(problem) = spiffe_problem(id)
        {
            return Err(NameError::SpiffeId { id: id.clone(), problem });
        }
        let has_name =
            !self.dns_names.is_empty() || !self.ip_addresses.is_empty() || self.spiffe_id.is_some();
        if has_name { Ok(()) } else { Err(NameError::NoNames) }
    }
}

pub fn validate_common_name(name: &str) -> Result<(), NameError> {
    let problem = if name.trim().is_empty() {
        "is empty: name the service or the authority"
    } else if name.chars().count() > COMMON_NAME_MAX {
        "is longer than 64 characters: shorten it, the full name belongs into the DNS names"
    } else if name.chars().any(char::is_control) {
        "has control characters: remove them"
    } else {
        return Ok(());
    };
    Err(NameError::CommonName { name: name.to_owned(), problem })
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

/// Peers take upper case for lower case in scheme and trust domain; not every one does, so none is issued.
fn spiffe_problem(id: &str) -> Option<SpiffeProblem> {
    match id.parse::<SpiffeId>() {
        Ok(parsed) if parsed.as_str() == id => None,
        Ok(_) => Some(SpiffeProblem::UpperCase),
        Err(error) => Some(error.into()),
    }
}
