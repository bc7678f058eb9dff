//! Patterns over the names that a certificate carries: for peers that may connect, and for the names that a leaf
//! must have.

use std::fmt;
use std::str::FromStr;

use crate::names::Names;
use crate::spiffe_id::{self, SpiffeId, SpiffeIdError};

/// A pattern over the names of a certificate: `spiffe://DOMAIN/PATH`, where `*` stands for one whole path segment and a last `**` for any
/// number of them; or `dns:NAME`, where a first label `*` stands for exactly one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanPattern {
    /// SPIFFE IDs.
    Spiffe {
        /// The trust domain, lower case.
        domain: String,
        /// The path, segment by segment.
        path: Vec<String>,
    },
    /// A DNS name, lower case.
    Dns(String),
}

/// The text is not a pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?}: {cause}; write spiffe://DOMAIN/PATH (`*` one segment, a last `**` any rest) or dns:NAME (`*.` one label)"
)]
pub struct SanPatternError {
    pattern: String,
    cause: Cause,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    #[error("neither spiffe:// nor dns:")]
    Kind,
    #[error("it {0}")]
    Spiffe(#[from] SpiffeIdError),
    #[error("it is a whole trust domain; for all of its workloads write {0}/**")]
    TrustDomain(String),
    #[error("a path segment mixes `*` with text, or has `**` before its end")]
    Wildcard,
    #[error(
        "the name or one of its labels is empty, as behind a dot at its end, or it has a `*` elsewhere than as first label"
    )]
    Dns,
}

impl SanPattern {
    /// Whether a name of the certificate matches. `spiffe://` matches a certificate's [SPIFFE ID](Names::spiffe_id) alone.
    pub fn matches(&self, names: &Names) -> bool {
        match self {
            Self::Spiffe { domain, path } => {
                names.spiffe_id().is_some_and(|id| spiffe_matches(domain, path, &id))
            }
            Self::Dns(pattern) => names.dns.iter().any(|name| dns_matches(pattern, name)),
        }
    }
}

fn spiffe_matches(domain: &str, pattern: &[String], id: &SpiffeId) -> bool {
    if id.trust_domain() != domain {
        return false;
    }
    let mut found = id.segments();
    for (index, wanted) in pattern.iter().enumerate() {
        if wanted == "**" && index + 1 == pattern.len() {
            return found.next().is_some();
        }
        if !found.next().is_some_and(|found| wanted == "*" || wanted == found) {
            return false;
        }
    }
    found.next().is_none()
}

fn dns_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => pattern == name,
    }
}

impl FromStr for SanPattern {
    type Err = SanPatternError;

    fn from_str(text: &str) -> Result<Self, SanPatternError> {
        let refuse = |cause: Cause| SanPatternError { pattern: text.into(), cause };
        if spiffe_id::has_scheme(text) {
            let (domain, path) = parse_spiffe(text).map_err(refuse)?;
            return Ok(Self::Spiffe { domain, path });
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let name = name.to_ascii_lowercase();
            let fixed = name.strip_prefix("*.").unwrap_or(&name);
            if fixed.is_empty() || fixed.contains('*') || fixed.split('.').any(str::is_empty) {
                return Err(refuse(Cause::Dns));
            }
            return Ok(Self::Dns(name));
        }
        Err(refuse(Cause::Kind))
    }
}

/// The trust domain and the segments, each as a SPIFFE ID has it or a wildcard.
fn parse_spiffe(text: &str) -> Result<(String, Vec<String>), Cause> {
    let (domain, path) = match spiffe_id::split(text) {
        Err(SpiffeIdError::NoPath) => return Err(Cause::TrustDomain(text.trim_end_matches('/').into())),
        split => split?,
    };
    let path: Vec<String> = path.split('/').map(str::to_owned).collect();
    for (index, segment) in path.iter().enumerate() {
        let is_wild = segment == "*" || segment == "**" && index + 1 == path.len();
        if segment.contains('*') && !is_wild {
            return Err(Cause::Wildcard);
        }
        if !is_wild {
            spiffe_id::check_segment(segment)?;
        }
    }
    Ok((domain, path))
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe { domain, path } => write!(f, "spiffe://{domain}/{}", path.join("/")),
            Self::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spiffe(id: &str) -> Names {
        Names { uris: vec![id.into()], ..Names::default() }
    }

    fn dns(name: &str) -> Names {
        Names { dns: vec![name.into()], ..Names::default() }
    }

    #[test]
    fn patterns_admit_what_they_say_and_nothing_near_it() {
        let table: &[(&str, Names, bool)] = &[
            ("spiffe://shop/ns/a/sa/b", spiffe("spiffe://shop/ns/a/sa/b"), true),
            ("spiffe://SHOP/ns/a/sa/b", spiffe("spiffe://shop/ns/a/sa/b"), true),
            ("spiffe://shop/ns/a/sa/b", spiffe("spiffe://shop/ns/a/sa/bc"), false),
            ("spiffe://shop/ns/a/sa/b", spiffe("spiffe://shop/ns/a/sa/b/"), false),
            ("spiffe://shop/ns/*/sa/b", spiffe("spiffe://shop/ns/x/sa/b"), true),
            ("spiffe://shop/ns/*/sa/b", spiffe("spiffe://shop/ns//sa/b"), false),
            ("spiffe://shop/ns/*/sa/b", spiffe("spiffe://shop/ns/x/y/sa/b"), false),
            ("spiffe://shop/ns/a/**", spiffe("spiffe://shop/ns/a/sa/b"), true),
            ("spiffe://shop/ns/a/**", spiffe("spiffe://shop/ns/a"), false),
            ("spiffe://shop/ns/a/**", spiffe("spiffe://shop.evil/ns/a/sa/b"), false),
            ("dns:a.shop.svc", dns("a.shop.svc"), true),
            ("dns:a.shop.svc", dns("b.a.shop.svc"), false),
            ("dns:*.shop.svc", dns("a.shop.svc"), true),
            ("dns:*.shop.svc", dns("a.b.shop.svc"), false),
            ("dns:*.shop.svc", dns("shop.svc"), false),
            ("dns:a", spiffe("spiffe://a"), false),
        ];
        for (pattern, names, admitted) in table {
            let pattern: SanPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(names), *admitted, "{pattern} on {names}");
        }
    }

    #[test]
    fn certificates_match_by_the_id_that_their_uri_is() {
        for (pattern, uris, admitted) in [
            ("spiffe://shop/a", &["spiffe://shop/a"][..], true),
            ("spiffe://shop/a", &["SPIFFE://Shop/a"], true),
            ("SPIFFE://Shop/a", &["spiffe://shop/a"], true),
            ("spiffe://shop/a", &["spiffe://shop/A"], false),
            // An X.509-SVID has exactly one URI.
            ("spiffe://shop/a", &["spiffe://shop/a", "spiffe://shop/b"], false),
            ("spiffe://shop/a", &["spiffe://shop/a", "spiffe://shop/a"], false),
            ("spiffe://shop/a", &["spiffe://shop/a", "https://shop.test/a"], false),
            ("spiffe://shop/**", &["https://shop.test/a", "spiffe://shop/a"], false),
            // What is no SPIFFE ID is under no pattern.
            ("spiffe://shop/**", &["https://shop/a"], false),
            ("spiffe://shop/**", &["spiffe://shop/a/"], false),
            ("spiffe://shop/**", &["spiffe://shop//a"], false),
            ("spiffe://shop/**", &["spiffe://shop/a/../b"], false),
            ("spiffe://shop/*", &["spiffe://shop/."], false),
            ("spiffe://shop/*", &["spiffe://shop/%61"], false),
            ("spiffe://shop/*", &["spiffe://shop/a?b"], false),
            ("spiffe://shop/*", &["spiffe://shop/a#b"], false),
            ("spiffe://shop/*", &["spiffe://u@shop/a"], false),
            ("spiffe://shop/*", &["spiffe://shop:443/a"], false),
        ] {
            let names = Names { uris: uris.iter().map(|uri| (*uri).into()).collect(), ..Names::default() };
            let pattern: SanPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&names), admitted, "{pattern} on {uris:?}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in [
            "shop",
            "spiffe://",
            "spiffe://*/a",
            "spiffe://d/a*b",
            "spiffe://d/**/a",
            "spiffe://d//a",
            // A workload's ID has a path.
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d/a/",
            "spiffe://d/a/../b",
            "spiffe://d/./*",
            "spiffe://d/%61",
            "spiffe://d/a?b",
            "spiffe://u@d/a",
            "spiffe://d:1/a",
            "spiffe://d%61/a",
            "dns:",
            "dns:a.*.b",
            "dns:*",
            "dns:a..b",
        ] {
            assert!(matches!(bad.parse::<SanPattern>(), Err(SanPatternError { .. })), "{bad}");
        }
    }
}
