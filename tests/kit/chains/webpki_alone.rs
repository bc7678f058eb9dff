//! rustls's webpki without the rules that hotcert adds: what it refuses, hotcert refuses.

use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::{Case, Role, Verdict};

pub fn verdict(case: &Case) -> Verdict {
    verify(case).map_err(|error| format!("{error:?}"))
}

fn verify(case: &Case) -> Result<(), Error> {
    let der = |ders: &[Vec<u8>]| ders.iter().cloned().map(CertificateDer::from).collect::<Vec<_>>();
    let (roots, intermediates) = (der(&case.roots), der(&case.intermediates));
    let anchors: Vec<TrustAnchor<'_>> =
        roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let lists: Vec<CertRevocationList<'_>> = case
        .lists
        .iter()
        .filter_map(|list| OwnedCertRevocationList::from_der(list).ok())
        .map(Into::into)
        .collect();
    let lists: Vec<_> = lists.iter().collect();
    let revocation = match case.lists.is_empty() {
        true => None,
        false => Some(
            RevocationOptionsBuilder::new(&lists)
                .map_err(|_| Error::UnknownRevocationStatus)?
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build(),
        ),
    };
    let usage = match case.role {
        Role::Server => KeyUsage::server_auth(),
        Role::Client => KeyUsage::client_auth(),
    };
    let leaf = CertificateDer::from(case.leaf.as_slice());
    let leaf = EndEntityCert::try_from(&leaf)?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    leaf.verify_for_usage(algorithms, &anchors, &intermediates, case.unix_time(), usage, revocation, None)?;
    match case.name.as_deref().and_then(|name| ServerName::try_from(name).ok()) {
        Some(name) => leaf.verify_is_valid_for_subject_name(&name),
        None => Ok(()),
    }
}
