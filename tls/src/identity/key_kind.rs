//! The kinds of keys that TLS peers here do not take, by the object identifiers in their DER, so that a refusal names
//! them.

/// The one of these that is taken of an issuer.
pub(super) const P521: &str = "on the curve P-521 (521 bits)";

const KINDS: [(&[u8], &str); 9] = [
    (b"\x06\x05\x2b\x81\x04\x00\x23", P521),
    (b"\x06\x05\x2b\x81\x04\x00\x21", "on the curve P-224 (224 bits)"),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01", "on the curve P-192 (192 bits)"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "on the curve secp256k1 (256 bits)"),
    (b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01", "on a Brainpool curve"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (b"\x06\x03\x2b\x65\x6e", "X25519, which cannot sign"),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "RSA for RSASSA-PSS alone"),
];

/// The kind of the key in `der`, if it is one of those.
pub(super) fn named_in(der: &[u8]) -> Option<&'static str> {
    let holds = |identifier: &[u8]| der.windows(identifier.len()).any(|window| window == identifier);
    KINDS.iter().find_map(|(identifier, kind)| holds(identifier).then_some(*kind))
}
