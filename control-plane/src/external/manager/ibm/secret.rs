//! A secret with a certificate as IBM Secrets Manager returns it, and whether a version may be added to it.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::{Zeroize as _, Zeroizing};

use super::is_id;
use crate::external::manager::version::{Metadata, Version, normalize_key, normalize_pem};

/// Of type imported_cert, public_cert or private_cert; any other has no certificate.
#[derive(Deserialize)]
pub(super) struct Secret {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    secret_type: String,
    /// Absent while it has no certificate.
    serial_number: Option<String>,
    updated_at: Option<String>,
    /// Of an imported_cert whose key Secrets Manager made itself.
    managed_csr: Option<ManagedCsr>,
    pub(super) certificate: Option<String>,
    intermediate: Option<String>,
    private_key: Option<String>,
    issuing_ca: Option<String>,
    #[serde(default)]
    ca_chain: Vec<String>,
}

#[derive(Deserialize)]
struct ManagedCsr {
    private_key: Option<String>,
}

impl Secret {
    pub(super) fn into_version(mut self, id: &str) -> Result<Version, String> {
        let missing = |what: &str| format!("the secret {id} has no {what}; check that it is a certificate");
        let managed_key = self.managed_csr.as_mut().and_then(|csr| csr.private_key.take());
        let managed_key = Zeroizing::new(managed_key.unwrap_or_default());
        let own_key = Zeroizing::new(self.private_key.take().unwrap_or_default());
        let key = if own_key.is_empty() { managed_key } else { own_key };
        let leaf = self.certificate.take().ok_or_else(|| missing("certificate"))?;
        if key.is_empty() {
            return Err(missing("private key"));
        }
        let issuers: Vec<_> =
            self.ca_chain.iter().chain(&self.issuing_ca).map(|pem| normalize_pem(pem)).collect();
        let (mut roots, intermediates): (Vec<_>, Vec<_>) =
            issuers.into_iter().partition(|pem| is_self_issued(pem));
        let mut certificate = normalize_pem(&leaf);
        for pem in self.intermediate.iter().map(|pem| normalize_pem(pem)).chain(intermediates) {
            if !certificate.contains(pem.trim()) {
                certificate.push_str(&pem);
            }
        }
        roots.dedup();
        let roots = (!roots.is_empty()).then(|| roots.concat());
        Ok(Version { certificate, key: normalize_key(&key), roots, metadata: self.metadata() })
    }

    fn metadata(&self) -> Option<Metadata> {
        let (serial_number, updated_at) = (self.serial_number.clone()?, self.updated_at.clone()?);
        // The id becomes a part of a path.
        is_id(&self.id).then(|| Metadata { id: self.id.clone(), serial_number, updated_at })
    }

    /// Why no version can be added to it, if none can.
    pub(super) fn read_only_reason(&self) -> Option<&'static str> {
        match self.secret_type.as_str() {
            "imported_cert" if self.managed_csr.is_some() => Some(
                "Secrets Manager made its key (managed_csr) and takes certificates for that key alone: \
                name an imported_cert without a managed CSR",
            ),
            "imported_cert" => None,
            "public_cert" | "private_cert" => Some(
                "Secrets Manager makes the versions of a public_cert or private_cert itself, by rotation: \
                name an imported_cert, or leave out spec.authority to fetch this one",
            ),
            _ => Some("it is not a certificate: name an imported_cert"),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.private_key.zeroize();
        if let Some(csr) = &mut self.managed_csr {
            csr.private_key.zeroize();
        }
    }
}

/// Subject and issuer are the same. Whether it verifies the leaf is validated before anything is stored.
fn is_self_issued(pem: &str) -> bool {
    CertificateDer::from_pem_slice(pem.as_bytes()).is_ok_and(|der| {
        X509Certificate::from_der(&der)
            .is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
    })
}
