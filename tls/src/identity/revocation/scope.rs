//! Which of the certificates of its authority a list is about, as its issuing distribution point says: some authorities
//! publish a list for each part of what they issue.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::CertificateRevocationList;

const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    uris: Vec<String>,
    /// It is about no authorities.
    only_leaves: bool,
    only_authorities: bool,
}

impl Scope {
    /// `Ok(None)` if it is about all of them; the error is the rest of a sentence.
    pub fn of(list: &CertificateRevocationList<'_>) -> Result<Option<Self>, &'static str> {
        let mut extensions = list.extensions().iter();
        let point = extensions.find(|extension| extension.oid.to_id_string() == ISSUING_DISTRIBUTION_POINT);
        let Some(point) = point else { return Ok(None) };
        let ParsedExtension::IssuingDistributionPoint(point) = point.parsed_extension() else {
            return Err("has an issuing distribution point that cannot be read");
        };
        Ok(Some(Self {
            uris: uris(point.distribution_point.as_ref()).map(str::to_owned).collect(),
            only_leaves: point.only_contains_user_certs,
            only_authorities: point.only_contains_ca_certs,
        }))
    }

    /// Whether the list is about this certificate: one that says where its list is published, as the list does.
    pub fn covers(&self, certificate: &X509Certificate<'_>, is_authority: bool) -> bool {
        if (self.only_leaves && is_authority) || (self.only_authorities && !is_authority) {
            return false;
        }
        let points =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(points) => Some(points),
                _ => None,
            });
        let Some(points) = points else { return true };
        let complete = points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
        complete
            .flat_map(|point| uris(point.distribution_point.as_ref()))
            .any(|uri| self.uris.iter().any(|own| own == uri))
    }
}

fn uris<'a>(name: Option<&'a DistributionPointName<'a>>) -> impl Iterator<Item = &'a str> {
    let names = match name {
        Some(DistributionPointName::FullName(names)) => names.as_slice(),
        _ => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}
