//! The cryptography provider of every configuration, with a cache of certificates' signatures, and a budget for those
//! that do not verify.

mod failure_budget;
pub(crate) mod signature_cache;

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

pub(crate) use failure_budget::FailureBudget;

pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let provider = aws_lc_rs::default_provider();
        let signature_verification_algorithms =
            signature_cache::caching(provider.signature_verification_algorithms);
        Arc::new(CryptoProvider { signature_verification_algorithms, ..provider })
    });
    &PROVIDER
}

/// The signatures that are verified, in certificates and in handshakes.
pub fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// For a TLS 1.3 handshake that protects no secret: the fastest key exchange and the fastest hash only.
pub fn fast_provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: vec![kx_group::X25519],
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..CryptoProvider::clone(provider())
        })
    });
    &PROVIDER
}
