//! Reads a root that was made elsewhere, and validates it as strictly as peers validate what it signs.

use std::time::{Duration, SystemTime};

use hotcert_tls::identity;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::error::AuthorityError;
use super::{Authority, name_constraints};
use crate::api::leaf_request::LeafRequest;
use crate::pki::pem::certificate_pem;

impl Authority {
    /// A root that exists already, as PEM: its certificate and its key (unencrypted; PKCS#8, PKCS#1 or SEC1).
    pub fn import(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        root(certificate, key).map_err(AuthorityError::NotImported)
    }
}

/// The error is what no peer would accept.
fn root(certificate: &[u8], key: &[u8]) -> Result<Authority, String> {
    let certificates = identity::certificates(certificate, "its certificate");
    let der = certificates.map_err(|rejection| rejection.to_string())?.into_iter().next();
    let der = der.ok_or("its certificate is not there: give the root's in PEM")?;
    let key = identity::private_key(key, "its key").map_err(|rejection| rejection.to_string())?;
    let key = PrivateKeyDer::try_from(key.as_slice()).ok().and_then(|key| KeyPair::try_from(&key).ok());
    let key =
        Zeroizing::new(key.ok_or("its key cannot be used for signing: give P-256, P-384, Ed25519 or RSA")?);
    let authority = {
        let certificate = parse(&der)?;
        check(&certificate, &key)?;
        Authority {
            key,
            certificate_pem: certificate_pem(&der),
            serial: hex::encode(certificate.raw_serial()).trim_start_matches("00").to_owned(),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            permitted: name_constraints::read(&certificate)?,
            certificate_der: der.clone(),
        }
    };
    check_issuer_encoding(&authority)?;
    Ok(authority)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow its certificate", rest.len())),
        Err(_) => Err("its certificate is not valid DER".into()),
    }
}

fn check(certificate: &X509Certificate<'_>, key: &KeyPair) -> Result<(), String> {
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("the key does not belong to the certificate".into());
    }
    let constraints =
        certificate.basic_constraints().map_err(|_| "its basicConstraints are malformed".to_owned())?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err("it is not a CA certificate (basicConstraints)".into());
    }
    let usage = certificate.key_usage().map_err(|_| "its keyUsage is malformed".to_owned())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its keyUsage does not allow signing certificates (keyCertSign)".into());
    }
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        return Err("it is an intermediate, not a root: peers would need the root above it as well".into());
    }
    Ok(())
}

/// The subject is parsed and encoded again for every leaf. If the bytes differed, no leaf would chain to this
/// root.
fn check_issuer_encoding(authority: &Authority) -> Result<(), String> {
    let request = LeafRequest {
        common_name: "trial".into(),
        // A DNS name might not be permitted.
        spiffe_id: Some("spiffe://trial.invalid/trial".into()),
        lifetime: Duration::from_secs(1),
        ..LeafRequest::default()
    };
    let within = SystemTime::from(authority.not_before);
    let leaf = authority.issue(&request, within).map_err(|error| error.to_string())?;
    let (leaf, root) = (parse(&leaf.certificate_der)?, parse(&authority.certificate_der)?);
    if leaf.issuer().as_raw() != root.subject().as_raw() {
        return Err(
            "its subject would be encoded differently in a leaf's issuer, so that no leaf would chain to it"
                .into(),
        );
    }
    Ok(())
}
