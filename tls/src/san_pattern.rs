//! Patterns over the names that a certificate carries: for peers that may connect, and for the names that a leaf
//! must have.

use std::fmt;
use std::str::FromStr;

use crate::names::Names;

/// A pattern over the names of a certificate: `spiffe://DOMAIN/PATH`, where `*` stands for one whole path segment and a last `**` for any
/// number of them; or `dns:NAME`, where a first label `*` stands for exactly one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanPattern {
    /// A SPIFFE ID.
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
    cause: &'static str,
}

impl SanPattern {
    /// Whether a name of the certificate matches. A certificate with several SPIFFE IDs has none.
    pub fn matches(&self, names: &Names) -> bool {
        match self {
            Self::Spiffe { domain, path } => {
                names.spiffe_id().is_some_and(|id| spiffe_matches(domain, path, id))
            }
            Self::Dns(pattern) => names.dns.iter().any(|name| dns_matches(pattern, name)),
        }
    }
}

fn spiffe_matches(domain: &str, pattern: &[String], id: &str) -> bool {
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return false;
    };
    let (found, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !found.eq_ignore_ascii_case(domain) {
        return false;
    }
    let mut segments = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    let mut wanted = pattern;
    if let Some((last, before)) = pattern.split_last()
        && last == "**"
    {
        if segments.len() <= before.len() {
            return false;
        }
        segments.truncate(before.len());
        wanted = before;
    }
    wanted.len() == segments.len()
        && wanted
            .iter()
            .zip(segments)
            .all(|(wanted, found)| wanted == "*" && !found.is_empty() || wanted == found)
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
        let refuse = |cause| SanPatternError { pattern: text.into(), cause };
        if let Some(rest) = text.strip_prefix("spiffe://") {
            let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
            if domain.is_empty() || domain.contains(['*', ':', '@']) {
                return Err(refuse("the trust domain must be written out"));
            }
            let path: Vec<String> =
                if path.is_empty() { Vec::new() } else { path.split('/').map(str::to_owned).collect() };
            for (index, segment) in path.iter().enumerate() {
                let wild = segment == "*" || segment == "**" && index + 1 == path.len();
                if segment.is_empty() || segment.contains('*') && !wild {
                    return Err(refuse("a path segment is empty or mixes `*` with text"));
                }
            }
            return Ok(Self::Spiffe { domain: domain.to_ascii_lowercase(), path });
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let name = name.to_ascii_lowercase();
            let fixed = name.strip_prefix("*.").unwrap_or(&name);
            if fixed.is_empty() || fixed.contains('*') || fixed.split('.').any(str::is_empty) {
                return Err(refuse("the name is empty or has a `*` elsewhere than as first label"));
            }
            return Ok(Self::Dns(name));
        }
        Err(refuse("neither spiffe:// nor dns:"))
    }
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe { domain, path } if path.is_empty() => write!(f, "spiffe://{domain}"),
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
            ("spiffe://shop", spiffe("spiffe://shop"), true),
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
    fn two_spiffe_ids_are_no_identity() {
        let names =
            Names { uris: vec!["spiffe://shop/a".into(), "spiffe://shop/b".into()], ..Names::default() };
        assert!(!"spiffe://shop/a".parse::<SanPattern>().unwrap().matches(&names));
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
            "dns:",
            "dns:a.*.b",
            "dns:*",
            "dns:a..b",
        ] {
            assert!(matches!(bad.parse::<SanPattern>(), Err(SanPatternError { .. })), "{bad}");
        }
    }
}
