//! Broken candidates: what a volume holds when a renewal went wrong. None may ever be served.

use std::time::{Duration, SystemTime};

use hotcert::authority::{Authority, AuthorityError, LeafRequest};
use zeroize::Zeroizing;

use crate::sightings::{Fingerprint, fingerprint};

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A certificate beside the key of another.
    Mismatched,
    /// A certificate file that ends in the middle.
    HalfWritten,
    /// A pair that was good an hour ago.
    Expired,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Mismatched, Self::HalfWritten, Self::Expired];
}

pub struct Candidate {
    pub certificate: String,
    pub key: Zeroizing<String>,
    /// What a peer would see if it were served.
    pub leaf: Fingerprint,
}

pub fn broken(kind: Kind, authority: &Authority, request: &LeafRequest) -> Result<Candidate, AuthorityError> {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let now = SystemTime::now();
    let leaf = match kind {
        Kind::Mismatched | Kind::HalfWritten => authority.issue(request, now)?,
        Kind::Expired => {
            authority.issue(&LeafRequest { lifetime: HOUR, ..request.clone() }, now - 2 * HOUR)?
        }
    };
    let mut candidate = Candidate {
        leaf: fingerprint(&leaf.certificate_der),
        certificate: leaf.certificate_pem,
        key: leaf.key_pem,
    };
    match kind {
        Kind::Mismatched => candidate.key = authority.issue(request, now)?.key_pem,
        Kind::HalfWritten => candidate.certificate.truncate(candidate.certificate.len() / 2),
        Kind::Expired => {}
    }
    Ok(candidate)
}
