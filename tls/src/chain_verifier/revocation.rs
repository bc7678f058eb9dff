//! Whether a certificate of a path is revoked, by the lists that its issuers have signed. Webpki can check that too, and
//! then computes the signature of each list in each handshake, and knows one list of each name: two roots of one name
//! have two lists. The lists were read by webpki's rules.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use webpki::{Cert, VerifiedPath};
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::rules::{self, PathFault, RootRules};
use crate::identity::RevocationLists;

/// Why the status of a certificate cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownStatus {
    #[error(
        "there is no revocation list of {issuer}, and where there are lists every authority of a chain needs one; publish it \
         beside the others"
    )]
    NoList { issuer: String },
    #[error(
        "the revocation list of {issuer} is out of date since {}; publish the next",
        format_rfc3339_seconds(*.since)
    )]
    Stale { issuer: String, since: SystemTime },
    #[error("the revocation list of {issuer} is not signed by it; publish the authority's own")]
    Unsigned { issuer: String },
    #[error(
        "the key usage of {issuer} has no cRLSign, so no revocation list of it counts; issue it with that usage"
    )]
    MayNotSign { issuer: String },
}

/// Checks a path that is good otherwise, from the root down: what a revoked authority says counts for nothing.
pub(super) fn check(
    path: &VerifiedPath<'_>,
    root: &RootRules,
    lists: &RevocationLists,
    at: SystemTime,
) -> Result<(), PathFault> {
    let mut key = path.anchor().subject_public_key_info.as_ref().to_vec();
    let mut may_sign = root.signs_lists;
    for authority in path.intermediate_certificates().rev() {
        check_certificate(authority, true, Issuer { key: &key, may_sign }, lists, at)?;
        let der = authority.subject_public_key_info();
        key = Any::from_der(&der).map_err(|_| PathFault::Malformed)?.1.as_bytes().to_vec();
        let der = authority.der();
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PathFault::Malformed)?;
        may_sign = rules::may_sign_lists(&parsed);
    }
    check_certificate(path.end_entity(), false, Issuer { key: &key, may_sign }, lists, at)
}

struct Issuer<'a> {
    /// Content of the DER of its public key.
    key: &'a [u8],
    may_sign: bool,
}

fn check_certificate(
    certificate: &Cert<'_>,
    is_authority: bool,
    issuer: Issuer<'_>,
    lists: &RevocationLists,
    at: SystemTime,
) -> Result<(), PathFault> {
    let der = certificate.der();
    let parsed = || X509Certificate::from_der(&der).map_err(|_| PathFault::Malformed);
    let (mut is_known, mut stale, mut is_unsigned) = (false, None, false);
    for list in lists.lists.iter().filter(|list| list.issuer_name == certificate.issuer()) {
        if let Some(scope) = &list.scope
            && !scope.covers(&parsed()?.1, is_authority)
        {
            continue;
        }
        if !list.is_signed_by(issuer.key) {
            // That of another root of the name is about that root's. Whose any other is nobody knows, nor what it withdraws.
            is_unsigned |= !list.is_of_a_root();
        } else if list.revokes(certificate.serial()) && issuer.may_sign {
            return Err(PathFault::Revoked { subject: parsed()?.1.subject().to_string() });
        } else if at >= list.usable_until() {
            stale = Some(list.next_update);
        } else {
            is_known = true;
        }
    }
    if is_known && issuer.may_sign && !is_unsigned {
        return Ok(());
    }
    let name = parsed()?.1.issuer().to_string();
    Err(PathFault::RevocationUnknown(match (issuer.may_sign, stale) {
        (false, _) => UnknownStatus::MayNotSign { issuer: name },
        (true, Some(since)) => UnknownStatus::Stale { issuer: name, since },
        (true, None) if is_unsigned => UnknownStatus::Unsigned { issuer: name },
        (true, None) => UnknownStatus::NoList { issuer: name },
    }))
}
