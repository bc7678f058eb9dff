//! A certificate as a value, every field of which can be set to something wrong before it is signed. Keys and signatures
//! are of Ed25519 and follow from a number, so that the same certificate always has the same bytes.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::der::{TRUE, bits, octets, oid, sequence, tlv};

const ED25519: &str = "1.3.101.112";
/// PKCS#8 before the 32 bytes of the key.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// One of the keys that there are.
pub type KeyNumber = u8;

#[derive(Clone, Debug)]
pub struct Extension {
    pub oid: &'static str,
    pub critical: bool,
    pub value: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Certificate {
    /// The number that stands in the certificate; 2 is of X.509 v3.
    pub version: Option<u8>,
    pub serial: Vec<u8>,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    /// With their tags: UTCTime or GeneralizedTime.
    pub not_before: Vec<u8>,
    pub not_after: Vec<u8>,
    pub key: KeyNumber,
    pub signed_by: KeyNumber,
    pub extensions: Vec<Extension>,
    /// The identifier of the signature's algorithm, inside and outside.
    pub algorithms: [Vec<u8>; 2],
    /// Bytes of what is signed that are changed before it is: where, and by which mask.
    pub flips: Vec<(usize, u8)>,
}

impl Certificate {
    pub fn new(subject: &str, key: KeyNumber, issuer: &str, signed_by: KeyNumber) -> Self {
        Self {
            version: Some(2),
            serial: vec![0x10 | key],
            issuer: name(issuer),
            subject: name(subject),
            not_before: utc("250101000000Z"),
            not_after: utc("350101000000Z"),
            key,
            signed_by,
            extensions: Vec::new(),
            algorithms: [algorithm(), algorithm()],
            flips: Vec::new(),
        }
    }

    pub fn with(mut self, oid: &'static str, critical: bool, value: Vec<u8>) -> Self {
        self.extensions.push(Extension { oid, critical, value });
        self
    }

    /// Signed, in DER.
    pub fn der(&self) -> Vec<u8> {
        let mut signed = self.to_be_signed();
        for (at, mask) in &self.flips {
            let at = at % signed.len();
            signed[at] ^= mask;
        }
        let signature = key(self.signed_by).sign(&signed).unwrap();
        sequence(&[signed, self.algorithms[1].clone(), bits(&signature)])
    }

    fn to_be_signed(&self) -> Vec<u8> {
        let public = sequence(&[algorithm(), bits(key(self.key).der_bytes())]);
        let version = self.version.map(|version| tlv(0xa0, &tlv(0x02, &[version]))).unwrap_or_default();
        let extensions: Vec<_> = self.extensions.iter().map(Extension::der).collect();
        sequence(&[
            version,
            tlv(0x02, &self.serial),
            self.algorithms[0].clone(),
            self.issuer.clone(),
            sequence(&[self.not_before.clone(), self.not_after.clone()]),
            self.subject.clone(),
            public,
            if extensions.is_empty() { Vec::new() } else { tlv(0xa3, &sequence(&extensions)) },
        ])
    }
}

impl Extension {
    fn der(&self) -> Vec<u8> {
        let critical = if self.critical { TRUE.to_vec() } else { Vec::new() };
        sequence(&[oid(self.oid), critical, octets(&self.value)])
    }
}

/// A revocation list without entries, in DER.
pub fn list(issuer: &str, signed_by: KeyNumber, extensions: &[Extension]) -> Vec<u8> {
    let extensions: Vec<_> = extensions.iter().map(Extension::der).collect();
    let signed = sequence(&[
        tlv(0x02, &[1]),
        algorithm(),
        name(issuer),
        utc("250101000000Z"),
        utc("350101000000Z"),
        if extensions.is_empty() { Vec::new() } else { tlv(0xa0, &sequence(&extensions)) },
    ]);
    let signature = key(signed_by).sign(&signed).unwrap();
    sequence(&[signed, algorithm(), bits(&signature)])
}

/// A distinguished name that is a common name alone.
pub fn name(common: &str) -> Vec<u8> {
    sequence(&[tlv(0x31, &sequence(&[oid("2.5.4.3"), tlv(0x0c, common.as_bytes())]))])
}

pub fn utc(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

pub fn algorithm() -> Vec<u8> {
    sequence(&[oid(ED25519)])
}

/// In PEM.
pub fn private_key(number: KeyNumber) -> String {
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(pkcs8(number))
    )
}

fn key(number: KeyNumber) -> KeyPair {
    KeyPair::try_from(pkcs8(number).as_slice()).unwrap()
}

fn pkcs8(number: KeyNumber) -> Vec<u8> {
    [PKCS8.as_slice(), &[number ^ 0x5a; 32]].concat()
}
