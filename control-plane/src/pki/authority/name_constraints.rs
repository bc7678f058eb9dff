//! Reads the name constraints of a root that was made elsewhere: those of DNS names. Others are left to the validation
//! before publishing.

use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::X509Certificate;

use crate::api::permitted_names::PermittedNames;

pub(super) fn read(root: &X509Certificate<'_>) -> Result<PermittedNames, String> {
    let extension = root.name_constraints().map_err(|_| "its nameConstraints are malformed".to_owned())?;
    let Some(extension) = extension else { return Ok(PermittedNames::default()) };
    let permitted = dns_domains(extension.value.permitted_subtrees.as_ref());
    let excluded = dns_domains(extension.value.excluded_subtrees.as_ref());
    Ok(PermittedNames { permitted: (!permitted.is_empty()).then_some(permitted), excluded })
}

fn dns_domains(subtrees: Option<&Vec<GeneralSubtree<'_>>>) -> Vec<String> {
    let subtrees = subtrees.into_iter().flatten();
    let domain = |subtree: &GeneralSubtree<'_>| match &subtree.base {
        GeneralName::DNSName(domain) => Some(domain.to_ascii_lowercase()),
        _ => None,
    };
    subtrees.filter_map(domain).collect()
}
