//! SHA-256 digests in lower-case hexadecimal, as certificates are named everywhere here.

use sha2::{Digest as _, Sha256};

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
