//! Certificate revocation lists: which certificates their authorities have withdrawn. Where there are lists, every
//! authority of a chain needs one that is not out of date: an attacker who can hold a list back gains nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};
use zeroize::Zeroizing;

use super::certificate::system_time;
use super::rejection::Rejection;
use crate::chain_verifier::in_words;
use crate::credential::pem;
use crate::credential::{Part, PartError};
use crate::digest::sha256_hex;

const FILE: &str = "the file of revocation lists";
const DER_SEQUENCE: u8 = 0x30;
const LABEL: &str = "X509 CRL";

/// The revocation lists of a bundle, one for each authority.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevocationLists {
    /// By issuer.
    pub lists: Vec<RevocationList>,
    /// Hex SHA-256 over the sorted digests of the lists.
    pub sha256: String,
}

/// What one authority has withdrawn.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevocationList {
    /// RFC 4514 text of the issuer.
    pub issuer: String,
    /// The number of the list, which only grows, in hexadecimal.
    pub number: Option<String>,
    /// When it was made.
    pub this_update: SystemTime,
    /// When the next one was promised, which is the end of this one.
    pub next_update: SystemTime,
    /// How long after that it is still used.
    pub grace: Duration,
    /// How many certificates it withdraws.
    pub revoked: usize,
    pub(crate) issuer_name: Vec<u8>,
    pub(crate) list: CertRevocationList<'static>,
    sha256: String,
}

impl RevocationList {
    /// From when on nobody is trusted by it.
    pub fn usable_until(&self) -> SystemTime {
        self.next_update + self.grace
    }

    /// Whether it was made before the other.
    fn is_older_than(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(own), Some(others)) => (own.len(), own) < (others.len(), others),
            _ => self.this_update < other.this_update,
        }
    }
}

impl RevocationLists {
    /// `Ok(None)` if there is no such file. Of several lists of one authority the newest counts; a list that is older
    /// than the one `before` refuses the file.
    pub(super) fn parse(
        part: &Part,
        before: Option<&Self>,
        grace: Duration,
    ) -> Result<Option<Arc<Self>>, Rejection> {
        let bytes = match part {
            Err(PartError::Missing { .. }) if before.is_none() => return Ok(None),
            Err(error) => return Err(error.clone().into()),
            Ok(bytes) => bytes,
        };
        let mut lists: Vec<RevocationList> = Vec::new();
        for (index, der) in read(bytes)?.iter().enumerate() {
            let list =
                parse_list(der, grace).map_err(|cause| malformed(format!("list {} {cause}", index + 1)))?;
            match lists.iter_mut().find(|other| other.issuer_name == list.issuer_name) {
                None => lists.push(list),
                Some(other) if other.is_older_than(&list) => *other = list,
                Some(_) => {}
            }
        }
        if lists.is_empty() {
            return Err(malformed(
                "it holds no list: publish those of all authorities, or remove the file".into(),
            ));
        }
        for list in &lists {
            let served = before.iter().flat_map(|before| &before.lists);
            let mut served = served.filter(|served| served.issuer_name == list.issuer_name);
            if served.any(|served| list.is_older_than(served)) {
                return Err(Rejection::OlderRevocationList { issuer: list.issuer.clone() });
            }
        }
        lists.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        let digests: Vec<_> = lists.iter().map(|list| list.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        Ok(Some(Arc::new(Self { lists, sha256 })))
    }
}

/// The lists of the file in DER: authorities publish them in DER, and tools store them in PEM.
fn read(bytes: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, Rejection> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![Zeroizing::new(bytes.to_vec())]);
    }
    let sections = pem::sections(bytes).map_err(|error| Rejection::from_pem(FILE, error))?;
    match sections.iter().find(|section| section.label != LABEL) {
        Some(other) => {
            Err(malformed(format!("its section {} is not a revocation list: remove it", other.label)))
        }
        None => Ok(sections.into_iter().map(|section| section.der).collect()),
    }
}

/// What is wrong is the rest of a sentence.
fn parse_list(der: &[u8], grace: Duration) -> Result<RevocationList, String> {
    let (rest, parsed) = CertificateRevocationList::from_der(der)
        .map_err(|_| "is not DER of a revocation list: publish it again".to_owned())?;
    if !rest.is_empty() {
        return Err(format!("is followed by {} bytes: publish it again", rest.len()));
    }
    let next_update = parsed
        .next_update()
        .ok_or("does not say when the next one comes, so it would never be out of date: have it issued with nextUpdate")?;
    let list = OwnedCertRevocationList::from_der(der).map_err(|error| {
        format!("cannot be used: {}; have it issued for all certificates, as a whole", in_words(&error))
    })?;
    let number = parsed.crl_number().map(|number| number.to_str_radix(16));
    Ok(RevocationList {
        issuer: parsed.issuer().to_string(),
        number,
        this_update: system_time(parsed.last_update().timestamp()),
        next_update: system_time(next_update.timestamp()),
        grace,
        revoked: parsed.iter_revoked_certificates().count(),
        issuer_name: parsed.issuer().as_raw().to_vec(),
        list: list.into(),
        sha256: sha256_hex(der),
    })
}

fn malformed(cause: String) -> Rejection {
    Rejection::MalformedPem { what: FILE, cause }
}
