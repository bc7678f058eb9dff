//! What RFC 5280 has certificates look like and some peer insists on: a chain with another form works with one half of
//! its peers.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{CRLDistributionPoint, GeneralName, ParsedExtension, PolicyInformation};

const PROXY: &str = "1.3.6.1.5.5.7.1.14";
/// Extensions that OpenSSL or Go reads in every certificate: key identifiers, key usage, names, basic constraints,
/// constraints on names, points of revocation lists, policies, extended key usage, where the issuer is found, Netscape's
/// kind.
const READ: [(&str, Shape); 14] = [
    ("2.5.29.14", of(0x04)),
    ("2.5.29.15", of(0x03)),
    ("2.5.29.17", sequence(&NAMES)),
    ("2.5.29.19", sequence(&[of(0x01), of(0x02)])),
    ("2.5.29.30", sequence(&[within(0xa0, &[SUBTREE]), within(0xa1, &[SUBTREE])])),
    ("2.5.29.31", sequence(&[sequence(&[within(0xa0, &POINT), of(0x81), within(0xa2, &NAMES)])])),
    ("2.5.29.32", sequence(&[sequence(&[OID, sequence(&[of(SEQUENCE)])])])),
    ("2.5.29.33", sequence(&[sequence(&[OID])])),
    ("2.5.29.35", sequence(&[of(0x80), within(0xa1, &NAMES), of(0x82)])),
    ("2.5.29.36", sequence(&[of(0x80), of(0x81)])),
    ("2.5.29.37", sequence(&[OID])),
    ("2.5.29.54", of(0x02)),
    ("1.3.6.1.5.5.7.1.1", sequence(&[ACCESS])),
    ("2.16.840.1.113730.1.1", of(0x03)),
];
const SEQUENCE: u8 = 0x30;
const OID: Shape = of(0x06);
const NAMES: [Shape; 9] = [
    within(0xa0, &[OID, of(0xa0)]),
    of(0x81),
    of(0x82),
    of(0xa3),
    within(0xa4, &[of(SEQUENCE)]),
    of(0xa5),
    of(0x86),
    of(0x87),
    of(0x88),
];
/// A name and how far below it: from there, and to there, which has the tag of a name.
const SUBTREE: Shape = sequence_with_names(&[of(0x80)]);
/// The name of a distribution point: whole, or the end of one.
const POINT: [Shape; 2] = [within(0xa0, &NAMES), of(0xa1)];
/// How something is found, and where.
const ACCESS: Shape = sequence_with_names(&[OID]);
/// That a certificate is an authority's, as DER has it.
const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// The tag of a value, and those of the values within, if they are looked at: the parser overlooks some bits of tags, and
/// what follows a value.
struct Shape {
    tag: u8,
    within: &'static [Shape],
    /// Names may stand beside those.
    or_names: bool,
}

const fn of(tag: u8) -> Shape {
    within(tag, &[])
}

const fn within(tag: u8, within: &'static [Shape]) -> Shape {
    Shape { tag, within, or_names: false }
}

const fn sequence_with_names(within: &'static [Shape]) -> Shape {
    Shape { tag: SEQUENCE, within, or_names: true }
}

const fn sequence(elements: &'static [Shape]) -> Shape {
    within(SEQUENCE, elements)
}

impl Shape {
    /// The value is one of this shape, and nothing follows it.
    fn fits(&self, value: &[u8]) -> bool {
        split(value).is_some_and(|(_, _, after)| after.is_empty())
            && are_shaped(value, std::slice::from_ref(self), false)
    }
}

/// Each of the values has one of the shapes, or may be a name.
fn are_shaped(mut values: &[u8], shapes: &[Shape], or_names: bool) -> bool {
    let names = if or_names { &NAMES[..] } else { &[] };
    while let Some((tag, content, after)) = split(values) {
        let is_cut_short = tag == OID.tag && content.last().is_none_or(|last| *last >= 0x80);
        let fits = |shape: &Shape| {
            shape.tag == tag && (shape.within.is_empty() || are_shaped(content, shape.within, shape.or_names))
        };
        if is_cut_short || !shapes.iter().chain(names).any(fits) {
            return false;
        }
        values = after;
    }
    values.is_empty()
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
        let shape = READ.iter().find(|(read, _)| *read == oid).map(|(_, shape)| shape);
        match extension.parsed_extension() {
            parsed
                if shape.is_some_and(|shape| {
                    matches!(parsed, ParsedExtension::ParseError { .. }) || !shape.fits(extension.value)
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
            text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        }
        GeneralName::IPAddress(bytes) => matches!(bytes.len(), 4 | 16),
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}
