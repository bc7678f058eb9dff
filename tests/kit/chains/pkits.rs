//! NIST's suite of certification paths (PKITS, 2011), which is a folder of certificates and one of revocation lists. What
//! is expected of a case is in its name; which certificates and lists belong to it is found by their names and key
//! identifiers.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};
use x509_parser::x509::X509Name;

use super::{Case, Role};
use crate::installed;

/// Within the dates of the suite, 2010 to 2030.
const AT: u64 = 1_700_000_000;
const ROOT: &str = "TrustAnchorRootCertificate";
/// Of the cases whose names do not say it, those that are refused with any policy at the start.
const REFUSED: [&str; 6] = [
    "DifferentPoliciesTest4",
    "DifferentPoliciesTest5",
    "DifferentPoliciesTest7",
    "DifferentPoliciesTest8",
    "DifferentPoliciesTest9",
    "DifferentPoliciesTest12",
];

struct Certificate {
    name: String,
    der: Vec<u8>,
    subject: String,
    key: Option<Vec<u8>>,
    issuer: String,
    issuer_key: Option<Vec<u8>>,
}

struct List {
    der: Vec<u8>,
    issuer: String,
    issuer_key: Option<Vec<u8>>,
}

/// The cases, as `tests/clients/install` has unpacked them.
pub fn cases() -> Vec<Case> {
    let folder = installed::folder().join("pkits");
    let certificates: Vec<_> =
        files(&folder.join("certs")).into_iter().filter_map(|(name, der)| certificate(name, der)).collect();
    let lists: Vec<_> = files(&folder.join("crls")).into_iter().filter_map(|(_, der)| list(der)).collect();
    let root = certificates.iter().find(|certificate| certificate.name == ROOT).unwrap();
    let leaves = certificates.iter().filter(|certificate| certificate.name.ends_with("EE"));
    leaves.map(|leaf| case(leaf, root, &certificates, &lists)).collect()
}

fn case(leaf: &Certificate, root: &Certificate, all: &[Certificate], lists: &[List]) -> Case {
    let mut path = vec![leaf];
    let mut at = 0;
    while let Some(&certificate) = path.get(at) {
        at += 1;
        let is_new =
            |other: &&Certificate| other.name != ROOT && !path.iter().any(|known| known.name == other.name);
        let issuers: Vec<_> = all.iter().filter(|other| issued(other, certificate)).filter(is_new).collect();
        path.extend(issuers);
    }
    let of_path = |list: &&List| {
        std::iter::once(&root).chain(&path).any(|issuer| {
            issuer.subject == list.issuer || issuer.key.is_some() && issuer.key == list.issuer_key
        })
    };
    let mut lists: Vec<_> = lists.iter().filter(of_path).map(|list| list.der.clone()).collect();
    let mut seen = HashSet::new();
    lists.retain(|list| seen.insert(list.clone()));
    let id = leaf.name.trim_end_matches("EE").to_owned();
    Case {
        role: Role::Client,
        roots: vec![root.der.clone()],
        intermediates: path[1..].iter().map(|certificate| certificate.der.clone()).collect(),
        leaf: leaf.der.clone(),
        key: None,
        lists,
        at: time(),
        name: None,
        expected: Some(!id.starts_with("Invalid") && !REFUSED.contains(&id.as_str())),
        id,
    }
}

fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(AT)
}

/// By its key where the certificate names that, else by name. Leaves have issued nothing.
fn issued(issuer: &Certificate, of: &Certificate) -> bool {
    let same_key = issuer.key.is_some() && issuer.key == of.issuer_key;
    !issuer.name.ends_with("EE") && (issuer.subject == of.issuer || same_key)
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn certificate(name: String, der: Vec<u8>) -> Option<Certificate> {
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let (mut key, mut issuer_key) = (None, None);
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => key = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                issuer_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    let (subject, issuer) = (comparable(parsed.subject()), comparable(parsed.issuer()));
    drop(parsed);
    Some(Certificate { name, subject, key, issuer, issuer_key, der })
}

fn list(der: Vec<u8>) -> Option<List> {
    let (_, parsed) = CertificateRevocationList::from_der(&der).ok()?;
    let issuer_key = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    let issuer = comparable(parsed.issuer());
    drop(parsed);
    Some(List { der, issuer, issuer_key })
}

/// Without what RFC 5280 has names compared without.
fn comparable(name: &X509Name<'_>) -> String {
    name.to_string().to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
