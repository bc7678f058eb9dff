//! A leaf with its key and the root that signed it. The root's key signs once and is dropped: nothing that is
//! stored could sign a second leaf.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hotcert_tls::Names;
use hotcert_tls::identity::Leaf;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::plan::Validity;
use crate::api::leaf_request::{LeafRequest, Usage};
use crate::digest::sha256_hex;
use crate::pki::authority::{Authority, AuthorityError, AuthorityRequest};
use crate::pki::pem::certificate_pem;
use crate::pki::preflight::{self, Validated};

/// The names that the webhook's certificate must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// Lower case.
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

/// A leaf and its root, validated.
#[derive(Clone)]
pub struct Pair {
    pub certificate: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
    pub root: Root,
    pub leaf: Arc<Leaf>,
}

/// A root certificate that was valid when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub pem: String,
    /// RFC 4514 text.
    pub subject: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the new certificate is not valid ({0}): check the clock of this machine")]
    Unusable(String),
}

impl ServerNames {
    pub fn are_covered_by(&self, names: &Names) -> bool {
        self.dns.iter().all(|name| names.dns.contains(name))
            && self.ips.iter().all(|ip| names.ips.contains(ip))
    }
}

impl Pair {
    pub fn issue(names: &ServerNames, lifetime: Duration, now: SystemTime) -> Result<Self, PairError> {
        let common_name = format!("hotcert-webhook {}", unique_suffix(now));
        let authority =
            Authority::create(&AuthorityRequest { common_name, lifetime, ..Default::default() }, now)?;
        let request = LeafRequest {
            common_name: "hotcert-webhook".into(),
            dns_names: names.dns.clone(),
            ip_addresses: names.ips.clone(),
            usage: Usage::ServerOnly,
            lifetime,
            ..LeafRequest::default()
        };
        let leaf = authority.issue(&request, now)?;
        let root = authority.certificate_pem().as_bytes();
        Self::validate(leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes(), root, now)
    }

    /// Validates as a peer that trusts only this root.
    pub fn validate(certificate: &[u8], key: &[u8], root: &[u8], now: SystemTime) -> Result<Self, PairError> {
        let Validated { leaf, trust } = preflight::validate(certificate, key, root, true, now)
            .map_err(|rejection| PairError::Unusable(rejection.to_string()))?;
        let subject = trust.iter().flat_map(|trust| &trust.roots).map(|root| root.subject.clone()).next();
        Ok(Self {
            certificate: certificate.to_vec(),
            key: Zeroizing::new(key.to_vec()),
            root: Root {
                pem: String::from_utf8_lossy(root).into_owned(),
                subject: subject.unwrap_or_default(),
            },
            leaf,
        })
    }

    pub fn validity(&self, names: &ServerNames) -> Validity {
        let Leaf { not_before, not_after, names: own, .. } = &*self.leaf;
        let names_match = names.are_covered_by(own);
        Validity { not_before: *not_before, not_after: *not_after, names_match }
    }
}

impl Root {
    /// The roots of a bundle in its order that have not expired, without duplicates; anything else in it is skipped.
    pub fn parse_bundle(bundle: &[u8], now: SystemTime) -> Vec<Self> {
        let mut roots: Vec<Self> = Vec::new();
        for der in CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok) {
            let pem = certificate_pem(&der);
            let trust = preflight::trust(pem.as_bytes(), now);
            // A bundle of nothing but roots that have expired is one.
            if let Some(found) = trust.iter().flat_map(|trust| &trust.roots).find(|root| now < root.not_after)
                && !roots.iter().any(|root| root.pem == pem)
            {
                roots.push(Self { pem, subject: found.subject.clone() });
            }
        }
        roots
    }
}

/// Distinguishes the roots by their subjects.
fn unique_suffix(now: SystemTime) -> String {
    let mut random = [0; 8];
    // Without it, two roots of the same second have the same subject, which is harmless.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!("{} {}", crate::api::date::seconds(now), &sha256_hex(&random)[..8])
}
