//! What RFC 5280 has certificates look like and some peer insists on: a chain with another form works with one half of
//! its peers.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{CRLDistributionPoint, GeneralName, ParsedExtension, PolicyInformation};

const PROXY: &str = "1.3.6.1.5.5.7.1.14";
/// Extensions that OpenSSL or Go reads in every certificate: key identifiers, key usage, names, basic constraints,
/// constraints on names, points of revocation lists, policies, extended key usage, where the issuer is found, Netscape's
/// kind.
const READ: [&str; 14] = [
    "2.5.29.14",
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.35",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.54",
    "1.3.6.1.5.5.7.1.1",
    "2.16.840.1.113730.1.1",
];
/// That a certificate is an authority's, as DER has it.
const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// What some peer refuses the certificate for, as the rest of a sentence.
pub(crate) fn form_fault(certificate: &X509Certificate<'_>) -> Option<String> {
    // The parser takes the bytes as they stand.
    match certificate.raw_serial() {
        [] | [0x80..=0xff, ..] => return Some("has a serial number that is not positive".into()),
        [0, 0..=0x7f, ..] => return Some("has a serial number that begins with a superfluous byte".into()),
        _ => {}
    }
    certificate.extensions().iter().find_map(|extension| {
        let oid = extension.oid.to_id_string();
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } if READ.contains(&oid.as_str()) => {
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
