//! SPIFFE IDs: parsed once, and compared as values, by the one rule that patterns, expected servers and the names of
//! certificates share.

use std::fmt;
use std::str::FromStr;

/// The SPIFFE standard's upper bounds, in bytes.
const MAX_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;
const SCHEME: &str = "spiffe://";

/// The SPIFFE ID of a workload: `spiffe://TRUST-DOMAIN/PATH`, as the SPIFFE standard has it. Scheme and trust domain
/// are case-insensitive and kept in lower case; the path is case-sensitive. Equal values are the same identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Box<str>,
    /// Of the path's first segment.
    path_at: usize,
}

/// Why a text is not the SPIFFE ID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeIdError {
    /// It is another URI, or none.
    #[error("does not begin with spiffe://")]
    Scheme,
    /// It is longer than peers have to support.
    #[error("is longer than 2048 bytes")]
    TooLong,
    /// There is nothing between `//` and `/`.
    #[error("has no trust domain: it is spiffe://trust-domain/path")]
    NoTrustDomain,
    /// The trust domain is too long.
    #[error("has a trust domain longer than 255 bytes")]
    TrustDomainTooLong,
    /// The trust domain has a port, user information, or another character that is not allowed.
    #[error("has a trust domain with other characters than a-z, 0-9, dot, hyphen, underscore")]
    TrustDomain,
    /// It is the ID of a trust domain.
    #[error("has no path: a workload's ID is spiffe://trust-domain/path")]
    NoPath,
    /// A segment is missing, or would lead elsewhere.
    #[error("has an empty, \".\" or \"..\" path segment: remove doubled and trailing slashes")]
    Segment,
    /// The path has a query, a fragment, a percent-encoded character, or another that is not allowed.
    #[error("has a path with other characters than letters, digits, dot, hyphen, underscore")]
    Path,
}

/// Why a certificate has no SPIFFE ID although it has a URI of that scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSpiffeId {
    /// It is not an X.509-SVID.
    #[error("no SPIFFE ID: it has {0} URIs, and an X.509-SVID has exactly one")]
    SeveralUris(usize),
    /// Its URI is not a SPIFFE ID.
    #[error("no SPIFFE ID: its URI {0}")]
    Invalid(SpiffeIdError),
}

impl SpiffeId {
    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path_at - 1]
    }

    /// The segments of the path, one or more.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.text[self.path_at..].split('/')
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let (trust_domain, path) = split(text)?;
        path.split('/').try_for_each(check_segment)?;
        let path_at = SCHEME.len() + trust_domain.len() + 1;
        Ok(Self { text: format!("{SCHEME}{trust_domain}/{path}").into(), path_at })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether this is the text of a SPIFFE ID or of something that is meant as one.
pub(crate) fn has_scheme(text: &str) -> bool {
    without_scheme(text).is_some()
}

/// The trust domain, in lower case, and the path, which is not checked.
pub(crate) fn split(text: &str) -> Result<(String, &str), SpiffeIdError> {
    let rest = without_scheme(text).ok_or(SpiffeIdError::Scheme)?;
    if text.len() > MAX_BYTES {
        return Err(SpiffeIdError::TooLong);
    }
    let (trust_domain, path) =
        rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let trust_domain = trust_domain.to_ascii_lowercase();
    check_trust_domain(&trust_domain)?;
    let path = path.filter(|path| !path.is_empty()).ok_or(SpiffeIdError::NoPath)?;
    Ok((trust_domain, path))
}

/// Whether this is a segment of a path.
pub(crate) fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if matches!(segment, "" | "." | "..") {
        Err(SpiffeIdError::Segment)
    } else if !segment.chars().all(is_allowed) {
        Err(SpiffeIdError::Path)
    } else {
        Ok(())
    }
}

fn check_trust_domain(text: &str) -> Result<(), SpiffeIdError> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if text.is_empty() {
        Err(SpiffeIdError::NoTrustDomain)
    } else if text.len() > MAX_TRUST_DOMAIN_BYTES {
        Err(SpiffeIdError::TrustDomainTooLong)
    } else if !text.chars().all(is_allowed) {
        Err(SpiffeIdError::TrustDomain)
    } else {
        Ok(())
    }
}

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_kept_as_the_standard_compares_them() {
        for (text, kept) in [
            ("spiffe://shop/ns/a/sa/b", "spiffe://shop/ns/a/sa/b"),
            ("SPIFFE://Shop.Test/ns/A", "spiffe://shop.test/ns/A"),
            ("spiffe://10.0.0.1/a", "spiffe://10.0.0.1/a"),
            ("spiffe://a_b-c/...", "spiffe://a_b-c/..."),
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().as_str(), kept);
        }
        let id: SpiffeId = "spiffe://shop/ns/a".parse().unwrap();
        assert_eq!((id.trust_domain(), id.segments().collect::<Vec<_>>()), ("shop", vec!["ns", "a"]));
        let longest = format!("spiffe://a/{}", "x".repeat(MAX_BYTES - 11));
        assert!(longest.parse::<SpiffeId>().is_ok());
        assert_eq!(format!("{longest}x").parse::<SpiffeId>(), Err(SpiffeIdError::TooLong));
    }

    #[test]
    fn what_the_standard_does_not_allow_is_refused() {
        let domain = format!("spiffe://{}/a", "x".repeat(256));
        for (text, error) in [
            ("", SpiffeIdError::Scheme),
            ("spiffe:/a/b", SpiffeIdError::Scheme),
            ("https://a/b", SpiffeIdError::Scheme),
            ("ü://a/b", SpiffeIdError::Scheme),
            ("spiffe:///b", SpiffeIdError::NoTrustDomain),
            ("spiffe://", SpiffeIdError::NoTrustDomain),
            (&domain, SpiffeIdError::TrustDomainTooLong),
            ("spiffe://a:1/b", SpiffeIdError::TrustDomain),
            ("spiffe://u@a/b", SpiffeIdError::TrustDomain),
            ("spiffe://[::1]/b", SpiffeIdError::TrustDomain),
            ("spiffe://a?b", SpiffeIdError::TrustDomain),
            ("spiffe://%61/b", SpiffeIdError::TrustDomain),
            ("spiffe://a", SpiffeIdError::NoPath),
            ("spiffe://a/", SpiffeIdError::NoPath),
            ("spiffe://a/b/", SpiffeIdError::Segment),
            ("spiffe://a//b", SpiffeIdError::Segment),
            ("spiffe://a/./b", SpiffeIdError::Segment),
            ("spiffe://a/b/..", SpiffeIdError::Segment),
            ("spiffe://a/%62", SpiffeIdError::Path),
            ("spiffe://a/b?c", SpiffeIdError::Path),
            ("spiffe://a/b#c", SpiffeIdError::Path),
            ("spiffe://a/*", SpiffeIdError::Path),
            ("spiffe://a/ü", SpiffeIdError::Path),
            ("spiffe://a/b\0", SpiffeIdError::Path),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        }
    }
}
