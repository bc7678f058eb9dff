//! Chains of certificates, judged by hotcert and by what its peers are made with: OpenSSL, Go, and rustls's webpki
//! alone. Suites of others and a fuzzer of our own have the chains; what is judged differently is mended, or stands with
//! its reason in a table.

pub mod certificate;
pub mod der;
pub mod expected;
pub mod extensions;
pub mod fuzz;
pub mod go;
pub mod judges;
pub mod limbo;
pub mod mutate;
pub mod openssl;
pub mod ours;
pub mod pkits;
pub mod webpki_alone;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio_rustls::rustls::pki_types::UnixTime;

/// What the other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// A chain, all of it in DER, and how it is to be judged.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    pub role: Role,
    pub roots: Vec<Vec<u8>>,
    pub intermediates: Vec<Vec<u8>>,
    pub leaf: Vec<u8>,
    /// In PEM, where the suite has it.
    pub key: Option<String>,
    /// Revocation lists. With none, revocation is not checked.
    pub lists: Vec<Vec<u8>>,
    pub at: SystemTime,
    /// The name that the server is called by.
    pub name: Option<String>,
    /// Whether it is to be accepted, by the suite.
    pub expected: Option<bool>,
}

/// Why a chain is refused.
pub type Verdict = Result<(), String>;

impl Case {
    pub fn seconds(&self) -> u64 {
        self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    pub fn unix_time(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.seconds()))
    }
}

/// PEM of sections of one kind.
pub fn pem<'a>(label: &str, sections: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    let section = |der: &Vec<u8>| {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    sections.into_iter().map(section).collect()
}
