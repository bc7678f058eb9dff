//! SHA-256 digests in lower-case hexadecimal, as certificates and contents are named everywhere here.

use sha2::{Digest as _, Sha256};

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
