//! A root from elsewhere: read, and judged as strictly as peers will judge what it signs.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{Authority, LeafRequest, hex};

/// An error says what about the root no peer would accept.
pub(super) fn root(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Authority, String> {
    let der = CertificateDer::from_pem_slice(certificate_pem)
        .map_err(|error| format!("its certificate is no PEM ({error:?})"))?;
    let key = str::from_utf8(key_pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok()).map(Zeroizing::new);
    let key = key.ok_or("its key cannot be read: give an unencrypted one in PEM")?;
    let authority = {
        let certificate = parse(&der)?;
        check(&certificate, &key)?;
        Authority {
            key,
            certificate_pem: self::certificate_pem(&der),
            serial: hex(certificate.raw_serial()).trim_start_matches("00").to_owned(),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            certificate_der: der.clone(),
        }
    };
    sign_once(&authority)?;
    Ok(authority)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow its certificate", rest.len())),
        Err(_) => Err("its certificate is no DER of a certificate".into()),
    }
}

fn check(certificate: &X509Certificate<'_>, key: &KeyPair) -> Result<(), String> {
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("the key does not belong to the certificate".into());
    }
    let constraints =
        certificate.basic_constraints().map_err(|_| "its basicConstraints are malformed".to_owned())?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err("it is no CA certificate".into());
    }
    let usage = certificate.key_usage().map_err(|_| "its keyUsage is malformed".to_owned())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key usage does not allow to sign certificates (keyCertSign)".into());
    }
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        return Err("it is an intermediate, not a root: peers would need the root above it as well".into());
    }
    Ok(())
}

/// The subject is read and written again for every leaf. If that were not the very same bytes, no leaf
/// would be found to belong under this root.
fn sign_once(authority: &Authority) -> Result<(), String> {
    let request = LeafRequest {
        common_name: "trial".into(),
        dns_names: vec!["trial.invalid".into()],
        lifetime: Duration::from_secs(1),
        ..LeafRequest::default()
    };
    let within = SystemTime::from(authority.not_before);
    let leaf = authority.issue(&request, within).map_err(|error| error.to_string())?;
    let (leaf, root) = (parse(&leaf.certificate_der)?, parse(&authority.certificate_der)?);
    if leaf.issuer().as_raw() != root.subject().as_raw() {
        return Err("its subject is of a form that cannot be written as it was read".into());
    }
    Ok(())
}

/// As PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let text = STANDARD.encode(der);
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
