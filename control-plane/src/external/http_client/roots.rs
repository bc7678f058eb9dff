//! Which certificates an endpoint accepts: those under the roots that its settings name, and under nothing else; or
//! else under the roots of the operating system, as they are when the first endpoint is made.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use super::endpoint_error::EndpointError;

/// Reading the roots of the operating system takes milliseconds: all endpoints share them.
static OF_THE_SYSTEM: Mutex<Option<Arc<ClientConfig>>> = Mutex::new(None);

/// `roots`: PEM; `None` for those of the operating system.
pub fn client_config(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, EndpointError> {
    match roots {
        Some(pem) => named(pem).map(Arc::new),
        None => of_the_system(),
    }
}

/// For plain HTTP: no certificate is accepted.
pub fn no_roots() -> Result<Arc<ClientConfig>, EndpointError> {
    Ok(Arc::new(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
}

fn named(pem: &[u8]) -> Result<ClientConfig, EndpointError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| EndpointError::Roots(error.to_string()))?;
        store.add(certificate).map_err(|error| EndpointError::Roots(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(EndpointError::Roots("the file contains no certificate".into()));
    }
    Ok(builder()?.with_root_certificates(store).with_no_client_auth())
}

fn of_the_system() -> Result<Arc<ClientConfig>, EndpointError> {
    let mut shared = OF_THE_SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = shared.as_ref() {
        return Ok(Arc::clone(config));
    }
    let builder = builder()?;
    let verifier = Verifier::new(Arc::clone(builder.crypto_provider()));
    let verifier = verifier.map_err(|error| EndpointError::NoRoots(error.to_string()))?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::clone(shared.insert(Arc::new(config.with_no_client_auth()))))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, EndpointError> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| EndpointError::Roots(error.to_string()))
}
