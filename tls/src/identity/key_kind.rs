//! The kinds of keys that are taken, of leaves and of their issuers, and what the others are called, so that a refusal
//! names them.

use x509_parser::asn1_rs::Tag;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const ED25519: &[u8] = b"\x2b\x65\x70";
const ED25519_BYTES: usize = 32;
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
/// In bytes, by curve.
const COORDINATES: [(&[u8], usize); 3] = [(P256, 32), (P384, 48), (P521, 66)];
/// A point with both of its coordinates.
const UNCOMPRESSED: u8 = 4;

/// Object identifiers in DER, and the version of RSA keys with more than two primes with what follows it.
const KINDS: [(&[u8], &str); 11] = [
    (b"\x06\x05\x2b\x81\x04\x00\x23", "on the curve P-521 (521 bits)"),
    (b"\x06\x05\x2b\x81\x04\x00\x21", "on the curve P-224 (224 bits)"),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01", "on the curve P-192 (192 bits)"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "on the curve secp256k1 (256 bits)"),
    (b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01", "on a Brainpool curve"),
    (b"\x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d", "on the curve SM2 (256 bits)"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (b"\x06\x03\x2b\x65\x6e", "X25519, which cannot sign"),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "RSA for RSASSA-PSS alone"),
    (b"\x02\x01\x01\x02\x82", "RSA of more than two primes"),
];

/// Which keys of the kinds that are taken are taken.
struct Taken {
    /// The most bits of an RSA key.
    rsa: usize,
    curves: &'static [&'static [u8]],
}

/// What the key of a leaf is, if it is not taken: as one's own, or as a peer's.
pub(crate) fn unsupported(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    fault(key, &Taken { rsa: 4096, curves: &[P256, P384] })
}

/// What the key of an issuer is, if no signature is verified with it. More is taken of issuers than of leaves.
pub(crate) fn unusable(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    fault(key, &Taken { rsa: 8192, curves: &[P256, P384, P521] })
}

/// The kind of the key in `der`, private or public, if it is one that is not taken of leaves.
pub(super) fn named_in(der: &[u8]) -> Option<&'static str> {
    let holds = |identifier: &[u8]| der.windows(identifier.len()).any(|window| window == identifier);
    KINDS.iter().find_map(|(identifier, kind)| holds(identifier).then_some(*kind))
}

fn fault(key: &SubjectPublicKeyInfo<'_>, taken: &Taken) -> Option<String> {
    match (key.algorithm.algorithm.as_bytes(), key.parsed()) {
        (RSA, Ok(PublicKey::RSA(rsa))) => wrong_rsa(&rsa, taken.rsa),
        (EC, _) => wrong_point(key, taken.curves),
        (RSA, _) => Some("an RSA key that cannot be read".into()),
        (ED25519, _) => {
            let is_wrong = key.subject_public_key.data.len() != ED25519_BYTES;
            is_wrong.then(|| "an Ed25519 key of another length than 32 bytes".into())
        }
        _ => Some(called(key, || format!("of the kind {}", key.algorithm.algorithm))),
    }
}

fn wrong_point(key: &SubjectPublicKeyInfo<'_>, taken: &[&[u8]]) -> Option<String> {
    let curve = key.algorithm.parameters.as_ref().filter(|parameters| parameters.header.tag() == Tag::Oid);
    let Some(curve) = curve else {
        return Some("on a curve that is written out in place of its name".into());
    };
    if !taken.contains(&curve.data) {
        return Some(called(key, || "on a curve that is not supported".into()));
    }
    let point = &key.subject_public_key.data;
    if point.first() != Some(&UNCOMPRESSED) {
        return Some("a compressed point, which some peers cannot read".into());
    }
    let coordinate = COORDINATES.iter().find(|(of, _)| *of == curve.data).map(|(_, bytes)| bytes);
    let is_whole = coordinate.is_some_and(|bytes| point.len() == 1 + 2 * bytes);
    (!is_whole).then(|| "a point with coordinates of another length than its curve has".into())
}

fn called(key: &SubjectPublicKeyInfo<'_>, otherwise: impl FnOnce() -> String) -> String {
    named_in(key.raw).map_or_else(otherwise, Into::into)
}

fn wrong_rsa(key: &RSAPublicKey<'_>, most: usize) -> Option<String> {
    let bits = rsa_bits(key);
    let which = match bits {
        ..2048 => "short",
        _ if bits <= most => return None,
        _ => "long",
    };
    Some(format!("RSA of {bits} bits, which is too {which}"))
}

/// The parser counts whole bytes.
fn rsa_bits(key: &RSAPublicKey<'_>) -> usize {
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let first = key.modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    8 * (key.modulus.len() - zeros) - first
}
