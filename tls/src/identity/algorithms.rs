//! The names of a certificate's algorithms, as OpenSSL writes them.

use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

const ED25519: &str = "1.3.101.112";

/// What a certificate was signed by, and the kind and size of its key. `None` for what is not known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Algorithms {
    /// Such as `ecdsa-with-SHA256` or `RSA-SHA256`.
    pub signature: Option<&'static str>,
    /// Such as `EC256` or `RSA2048`.
    pub key: Option<String>,
}

impl Algorithms {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let signature = certificate.signature_algorithm.algorithm.to_id_string();
        Self { signature: signature_name(&signature), key: key_name(certificate) }
    }
}

fn signature_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.1.5" => "RSA-SHA1",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA-SHA256",
        "1.2.840.113549.1.1.12" => "RSA-SHA384",
        "1.2.840.113549.1.1.13" => "RSA-SHA512",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        ED25519 => "ED25519",
        _ => return None,
    })
}

fn key_name(certificate: &X509Certificate<'_>) -> Option<String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(format!("RSA{}", key.key_size())),
        Ok(PublicKey::EC(point)) => Some(format!("EC{}", point.key_size())),
        _ if certificate.public_key().algorithm.algorithm.to_id_string() == ED25519 => Some("ED25519".into()),
        _ => None,
    }
}
