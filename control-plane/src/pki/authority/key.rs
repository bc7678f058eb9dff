//! Key pairs: how they are made and written. Every copy of a private key made here is wiped when it is
//! dropped.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, KeyUsagePurpose, RsaKeySize};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::error::AuthorityError;
use crate::api::algorithm::Algorithm;

/// Makes a key pair.
pub(super) fn generate(algorithm: Algorithm) -> Result<Zeroizing<KeyPair>, AuthorityError> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    match algorithm {
        Algorithm::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        Algorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        Algorithm::Ed25519 => ed25519(),
        Algorithm::Rsa2048 => rsa(RsaKeySize::_2048),
        Algorithm::Rsa3072 => rsa(RsaKeySize::_3072),
        Algorithm::Rsa4096 => rsa(RsaKeySize::_4096),
    }
    .map(Zeroizing::new)
    .map_err(|source| AuthorityError::Key { algorithm, source })
}

/// An RSA key may also be used to encrypt a session key, as TLS 1.2 clients without (EC)DHE do.
pub(super) fn leaf_key_usages(algorithm: Algorithm) -> Vec<KeyUsagePurpose> {
    match algorithm {
        Algorithm::P256 | Algorithm::P384 | Algorithm::Ed25519 => vec![KeyUsagePurpose::DigitalSignature],
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => {
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment]
        }
    }
}

/// rcgen would write PKCS#8 version 2 (the public key beside the private one), which much software
/// in the field does not read.
fn ed25519() -> Result<KeyPair, rcgen::Error> {
    let pkcs8 = Ed25519KeyPair::generate()
        .and_then(|key| key.to_pkcs8v1())
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_ref()), &rcgen::PKCS_ED25519)
}

/// PKCS#8 as PEM. Written by hand because [`KeyPair::serialize_pem`] leaves copies of the key in
/// memory that it has freed.
pub(super) fn pem(key: &KeyPair) -> Zeroizing<String> {
    const BYTES_A_LINE: usize = 48;
    let der = key.serialized_der();
    // A string that had to grow would leave its old buffer behind, unwiped.
    let mut pem = Zeroizing::new(String::with_capacity(der.len() * 3 / 2 + 128));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in der.chunks(BYTES_A_LINE) {
        STANDARD.encode_string(line, &mut pem);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
