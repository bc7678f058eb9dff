//! What RFC 5280 has certificates look like and some peer insists on: a chain with another form works with one half of
//! its peers.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{CRLDistributionPoint, GeneralName, ParsedExtension, PolicyInformation};

const PROXY: &str = "1.3.6.1.5.5.7.1.14";
/// Extensions that OpenSSL or Go reads in every certificate: key identifiers, key usage, names, basic constraints,
/// constraints on names, points of revocation lists, policies, extended key usage, where the issuer is found, Netscape's
/// kind.
const READ: [Form; 14] = [
    Form { oid: "2.5.29.14", tag: 0x04, elements: &[], inner: &[] },
    Form { oid: "2.5.29.15", tag: 0x03, elements: &[], inner: &[] },
    Form { oid: "2.5.29.17", tag: SEQUENCE, elements: &NAMES, inner: &[] },
    Form { oid: "2.5.29.19", tag: SEQUENCE, elements: &[0x01, 0x02], inner: &[] },
    Form { oid: "2.5.29.30", tag: SEQUENCE, elements: &[0xa0, 0xa1], inner: &[SEQUENCE] },
    Form { oid: "2.5.29.31", tag: SEQUENCE, elements: &[SEQUENCE], inner: &[0xa0, 0x81, 0xa2] },
    Form { oid: "2.5.29.32", tag: SEQUENCE, elements: &[SEQUENCE], inner: &[OID, SEQUENCE] },
    Form { oid: "2.5.29.33", tag: SEQUENCE, elements: &[SEQUENCE], inner: &[OID] },
    Form { oid: "2.5.29.35", tag: SEQUENCE, elements: &[0x80, 0xa1, 0x82], inner: &[] },
    Form { oid: "2.5.29.36", tag: SEQUENCE, elements: &[0x80, 0x81], inner: &[] },
    Form { oid: "2.5.29.37", tag: SEQUENCE, elements: &[OID], inner: &[] },
    Form { oid: "2.5.29.54", tag: 0x02, elements: &[], inner: &[] },
    Form { oid: "1.3.6.1.5.5.7.1.1", tag: SEQUENCE, elements: &[SEQUENCE], inner: &ACCESS },
    Form { oid: "2.16.840.1.113730.1.1", tag: 0x03, elements: &[], inner: &[] },
];
const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
/// The tags of names.
const NAMES: [u8; 9] = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88];
/// How something is found, and where.
const ACCESS: [u8; 10] = [OID, 0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88];
/// That a certificate is an authority's, as DER has it.
const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// The tags in the value of an extension: the parser overlooks some bits of them, and what follows a value.
struct Form {
    oid: &'static str,
    tag: u8,
    /// Of the elements of a sequence.
    elements: &'static [u8],
    /// Of what is in those, if that is looked at.
    inner: &'static [u8],
}

impl Form {
    fn fits(&self, value: &[u8]) -> bool {
        let Some((tag, content, after)) = split(value) else { return false };
        tag == self.tag
            && after.is_empty()
            && (tag != SEQUENCE
                || have_tags(content, self.elements, |element| {
                    self.inner.is_empty() || have_tags(element, self.inner, |_| true)
                }))
    }
}

/// What some peer refuses the certificate for, as the rest of a sentence.
pub(crate) fn form_fault(certificate: &X509Certificate<'_>) -> Option<String> {
    // The parser takes the bytes as they stand.
    match certificate.raw_serial() {
        [] | [0x80..=0xff, ..] => return Some("has a serial number that is not positive".into()),
        [0, 0..=0x7f, ..] => return Some("has a serial number that begins with a superfluous byte".into()),
        _ => {}
    }
    if certificate.extensions_map().is_err() {
        return Some("has an extension twice".into());
    }
    certificate.extensions().iter().find_map(|extension| {
        let oid = extension.oid.to_id_string();
        let form = READ.iter().find(|form| form.oid == oid);
        match extension.parsed_extension() {
            parsed
                if form.is_some_and(|form| {
                    matches!(parsed, ParsedExtension::ParseError { .. }) || !form.fits(extension.value)
                }) =>
            {
                Some(format!("has an extension ({oid}) that cannot be read"))
            }
            ParsedExtension::PolicyConstraints(_) => {
                Some("has constraints on policies, which are not supported".into())
            }
            // The parser takes other bytes for true, too.
            ParsedExtension::BasicConstraints(basic)
                if basic.ca && extension.value.get(2..5) != Some(&TRUE) =>
            {
                Some("has basic constraints that cannot be read".into())
            }
            ParsedExtension::CertificatePolicies(policies) if has_duplicates(policies) => {
                Some("has the same policy twice".into())
            }
            ParsedExtension::CRLDistributionPoints(points) if !points.points.iter().all(is_somewhere) => {
                Some("has a distribution point of revocation lists that is nowhere".into())
            }
            ParsedExtension::SubjectAlternativeName(names)
                if !names.general_names.iter().all(is_readable) =>
            {
                Some("has a subject alternative name that cannot be read".into())
            }
            _ if oid == PROXY => Some("is a proxy certificate".into()),
            _ => None,
        }
    })
}

/// Whether each of these values has one of the tags, and what it should have within.
fn have_tags(mut values: &[u8], tags: &[u8], within: impl Fn(&[u8]) -> bool) -> bool {
    while let Some((tag, content, after)) = split(values) {
        let is_cut_short = tag == OID && content.last().is_none_or(|last| *last >= 0x80);
        if !tags.contains(&tag) || is_cut_short || !within(content) {
            return false;
        }
        values = after;
    }
    values.is_empty()
}

/// The tag of the first value, its content, and what follows.
fn split(value: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length, rest) = match value {
        [tag, length @ 0..=0x7f, rest @ ..] => (*tag, usize::from(*length), rest),
        [tag, 0x81, length, rest @ ..] => (*tag, usize::from(*length), rest),
        [tag, 0x82, high, low, rest @ ..] => (*tag, usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn has_duplicates(policies: &[PolicyInformation<'_>]) -> bool {
    let is_known = |(at, policy): (usize, &PolicyInformation<'_>)| {
        policies[..at].iter().any(|other| other.policy_id == policy.policy_id)
    };
    policies.iter().enumerate().any(is_known)
}

fn is_somewhere(point: &CRLDistributionPoint<'_>) -> bool {
    point.distribution_point.is_some() || point.crl_issuer.is_some()
}

/// By all peers.
fn is_readable(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            text.is_ascii()
        }
        GeneralName::IPAddress(bytes) => matches!(bytes.len(), 4 | 16),
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}
