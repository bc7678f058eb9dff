//! Certificate revocation lists: which certificates their authorities have withdrawn. Where there are lists, every
//! authority of a chain needs one that is not out of date: an attacker who can hold a list back gains nothing. Each
//! authority's list goes forwards only: one that vanishes, cannot be read or is older leaves the one before in force.

mod list;
mod scope;

use std::sync::Arc;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds as date;
use zeroize::Zeroizing;

use super::policy::Policy;
use super::rejection::Rejection;
use super::trust::{Root, Trust};
use crate::credential::pem;
use crate::credential::{Part, PartError};
use crate::digest::sha256_hex;

pub use list::RevocationList;

const FILE: &str = "the file of revocation lists";
const DER_SEQUENCE: u8 = 0x30;
const LABEL: &str = "X509 CRL";

/// The revocation lists of a bundle, one for each authority.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevocationLists {
    /// In no order that has a meaning.
    pub lists: Vec<Arc<RevocationList>>,
    /// Hex SHA-256 over the sorted digests of the lists.
    pub sha256: String,
    /// What is unusual about the file, in sentences.
    pub notices: Vec<String>,
}

/// What a look at the file amounts to.
pub(super) struct Reading {
    /// In force from now on.
    pub lists: Option<Arc<RevocationLists>>,
    /// Why something of the file is not.
    pub rejection: Option<Rejection>,
}

impl RevocationLists {
    /// Reads the file beside these roots. `served`: what was in force before.
    pub(super) fn read(
        part: &Part,
        roots: &[Root],
        policy: &Policy,
        served: Option<&Trust>,
        now: SystemTime,
    ) -> Reading {
        let before = served.and_then(|served| served.revocation.as_deref());
        let before = before.map_or(&[][..], |before| &before.lists);
        let (lists, mut rejection) = match parse(part, before, roots, policy) {
            Ok(lists) => (lists, None),
            Err(Rejection::MissingFile { .. }) if before.is_empty() => (Vec::new(), None),
            Err(rejection) => (Vec::new(), Some(rejection)),
        };
        let mut merged = Merged { lists: Vec::new(), notices: Vec::new() };
        for list in lists {
            let older =
                |before: &&Arc<RevocationList>| list.succeeds(before) && list.age_order(before).is_lt();
            match before.iter().find(older) {
                Some(_) => {
                    rejection.get_or_insert(Rejection::OlderRevocationList { issuer: list.issuer.clone() });
                }
                None => merged.add(list),
            }
        }
        if let Some(unsigned) = merged.take_unsigned(roots) {
            rejection.get_or_insert(unsigned);
        }
        let is_whole = rejection.is_none();
        for list in before {
            merged.keep(list, (roots, served), is_whole, now);
        }
        Reading { lists: merged.into_lists(), rejection }
    }
}

/// What is in force, of the file and of what was in force before.
struct Merged {
    lists: Vec<Arc<RevocationList>>,
    notices: Vec<String>,
}

impl Merged {
    /// Of several lists of one authority the newest counts.
    fn add(&mut self, list: Arc<RevocationList>) {
        match self.lists.iter_mut().find(|other| list.succeeds(other)) {
            None => self.lists.push(list),
            Some(other) if other.age_order(&list).is_lt() => *other = list,
            Some(_) => {}
        }
    }

    /// Leaves out lists in the name of a root that it has not signed. Where every root of that name has one, such a list
    /// is one of a root that is not trusted, as in the course of a rollover.
    fn take_unsigned(&mut self, roots: &[Root]) -> Option<Rejection> {
        let is_unsigned = |list: &Arc<RevocationList>| {
            let mut of_its_name = list.roots_of_its_name(roots).peekable();
            let has_root = of_its_name.peek().is_some();
            has_root && !of_its_name.any(|root| list.is_signed_by(&root.anchor.subject_public_key_info))
        };
        let (unsigned, rest): (Vec<_>, _) =
            std::mem::take(&mut self.lists).into_iter().partition(is_unsigned);
        self.lists = rest;
        let mut rejection = None;
        for list in unsigned {
            let has_list = |root: &Root| {
                let key = root.anchor.subject_public_key_info.as_ref();
                self.lists.iter().any(|other| other.signer() == Some(key))
            };
            match list.roots_of_its_name(roots).all(has_list) {
                false => {
                    rejection = Some(Rejection::UnsignedRevocationList { issuer: list.issuer.clone() });
                }
                true => self.notices.push(format!(
                    "a revocation list of {} is signed by no root of the bundle: remove it, or publish its root",
                    list.issuer
                )),
            }
        }
        rejection
    }

    /// Keeps a list in force that the file has no newer one of, as long as its authority is trusted.
    fn keep(
        &mut self,
        before: &Arc<RevocationList>,
        (roots, served): (&[Root], Option<&Trust>),
        is_whole: bool,
        now: SystemTime,
    ) {
        if self.lists.iter().any(|list| list.succeeds(before)) {
            return;
        }
        let is_signer = |root: &Root| before.signer() == Some(root.anchor.subject_public_key_info.as_ref());
        let of_root = served.is_some_and(|served| served.roots.iter().any(is_signer));
        let is_needed = if of_root { roots.iter().any(is_signer) } else { now < before.usable_until() };
        if !is_needed {
            return;
        }
        if is_whole {
            self.notices.push(format!(
                "the revocation list of {} is gone from the file: the one before is in force until {}; publish the next, or \
                 restart to do without",
                before.issuer,
                date(before.usable_until())
            ));
        }
        self.lists.push(Arc::clone(before));
    }

    fn into_lists(mut self) -> Option<Arc<RevocationLists>> {
        if self.lists.is_empty() {
            return None;
        }
        self.lists.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        let digests: Vec<_> = self.lists.iter().map(|list| list.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        Some(Arc::new(RevocationLists { lists: self.lists, sha256, notices: self.notices }))
    }
}

/// The lists of the file. Those that were in force `before` are not parsed again.
fn parse(
    part: &Part,
    before: &[Arc<RevocationList>],
    roots: &[Root],
    policy: &Policy,
) -> Result<Vec<Arc<RevocationList>>, Rejection> {
    let bytes = part.as_ref().map_err(|error: &PartError| Rejection::from(error.clone()))?;
    let mut lists = Vec::new();
    for (index, der) in sections(bytes)?.iter().enumerate() {
        let sha256 = sha256_hex(der);
        match before.iter().find(|list| list.sha256 == sha256) {
            Some(known) => lists.push(Arc::clone(known)),
            None => {
                let list = RevocationList::parse(der, index + 1, roots, policy.revocation_grace)?;
                lists.push(Arc::new(list));
            }
        }
    }
    match lists.is_empty() {
        true => {
            Err(malformed("it holds no list: publish those of all authorities, or remove the file".into()))
        }
        false => Ok(lists),
    }
}

/// The lists of the file in DER: authorities publish them in DER, and tools store them in PEM.
fn sections(bytes: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, Rejection> {
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

fn malformed(cause: String) -> Rejection {
    Rejection::MalformedPem { what: FILE, cause }
}
