//! The raw bytes of one candidate, all of one version of their source and not validated yet. Sources read it;
//! `identity` validates it.

pub(crate) mod pem;

use std::fmt;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A Kubernetes Secret holds at most 1 MiB; so does each of its files.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Which file of a directory (or which key of a Secret) holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the leaf and its key are.
    pub leaf: LeafFiles,
    /// The file with the PEM certificates of the trusted roots, in any order.
    pub trust: String,
    /// The file with the revocation lists of the authorities, in PEM. There need not be one.
    pub revocation: String,
}

/// The name of the file or key that holds a number that only grows, by which the newer of two contents is known.
pub const REVISION: &str = "revision";

/// Where the leaf and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafFiles {
    /// Two files, as in a Secret of the type `kubernetes.io/tls`.
    Pair {
        /// The file with the leaf, then its intermediates, in PEM.
        certificate: String,
        /// The file with the private key, in PEM.
        key: String,
    },
    /// One file, as in a PodCertificate.
    Bundle {
        /// The file with the key, then the leaf, then its intermediates, in PEM.
        file: String,
    },
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            leaf: LeafFiles::Pair { certificate: "tls.crt".into(), key: "tls.key".into() },
            trust: "ca.crt".into(),
            revocation: "ca.crl".into(),
        }
    }
}

/// One file's bytes, wiped when dropped, or why they could not be read.
pub type Part = Result<Zeroizing<Vec<u8>>, PartError>;

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// There is no such file.
    #[error("{file} is missing")]
    Missing {
        /// Its name.
        file: String,
    },
    /// The directory as a whole is missing, or is not one.
    #[error("{directory} {problem}: give the directory that the identity is mounted at")]
    NoDirectory {
        /// Its path.
        directory: String,
        /// What is wrong with it, as a clause.
        problem: &'static str,
    },
    /// There is one that cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Unreadable {
        /// Its name.
        file: String,
        /// Why, and what to do.
        cause: String,
    },
    /// It is larger than a Secret can be.
    #[error("{file} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Its name.
        file: String,
    },
}

/// Raw bytes of one candidate. Never printed: `Debug` shows lengths.
pub struct Credential {
    /// The leaf and its key.
    pub leaf: LeafParts,
    /// The trust bundle.
    pub trust: Part,
    /// The revocation lists; [`PartError::Missing`] if there are none.
    pub revocation: Part,
    /// Which of two contents is newer; `None` if the publisher does not record it.
    pub revision: Option<u64>,
    /// When the source changed last, by the source's own clock.
    pub changed_at: Option<SystemTime>,
    /// Whether the source swaps all files at once, so that the files always belong together.
    pub atomic: bool,
}

/// The bytes of the leaf and its key, as [`LeafFiles`] has them.
pub enum LeafParts {
    /// Two files.
    Pair {
        /// The leaf, then its intermediates.
        certificate: Part,
        /// The private key.
        key: Part,
    },
    /// One file with both.
    Bundle(Part),
}

impl Credential {
    /// A credential of three PEM texts, as Vault or a file has them: the leaf with its intermediates, its private
    /// key, and the trusted roots. They belong together.
    pub fn pem(
        certificate: impl Into<Zeroizing<Vec<u8>>>,
        key: impl Into<Zeroizing<Vec<u8>>>,
        trust: impl Into<Zeroizing<Vec<u8>>>,
    ) -> Self {
        Self {
            leaf: LeafParts::Pair { certificate: Ok(certificate.into()), key: Ok(key.into()) },
            trust: Ok(trust.into()),
            revocation: Err(PartError::Missing { file: Layout::default().revocation }),
            revision: None,
            changed_at: None,
            atomic: true,
        }
    }

    /// Reads each part by its name in `layout`.
    pub fn read_parts(
        layout: &Layout,
        changed_at: Option<SystemTime>,
        atomic: bool,
        read: impl Fn(&str) -> Part,
    ) -> Self {
        let leaf = match &layout.leaf {
            LeafFiles::Pair { certificate, key } => {
                LeafParts::Pair { certificate: read(certificate), key: read(key) }
            }
            LeafFiles::Bundle { file } => LeafParts::Bundle(read(file)),
        };
        let revision = |bytes: &[u8]| str::from_utf8(bytes).ok()?.trim().parse().ok();
        Self {
            leaf,
            trust: read(&layout.trust),
            revocation: read(&layout.revocation),
            revision: read(REVISION).ok().and_then(|bytes| revision(&bytes)),
            changed_at,
            atomic,
        }
    }

    /// Identifies the content. Covers the private key, so it is kept in memory only.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut add = |part: &Part| match part {
            Ok(bytes) => {
                hash.update([1]);
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes.as_slice());
            }
            Err(error) => {
                hash.update([0]);
                hash.update(error.to_string());
            }
        };
        match &self.leaf {
            LeafParts::Pair { certificate, key } => {
                add(certificate);
                add(key);
            }
            LeafParts::Bundle(bundle) => add(bundle),
        }
        add(&self.trust);
        add(&self.revocation);
        Fingerprint(hash.finalize().into())
    }
}

/// Equal for equal content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// It covers the key: not even the hash is shown.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |part: &Part| part.as_ref().map(|bytes| bytes.len()).map_err(Clone::clone);
        let mut out = f.debug_struct("Credential");
        match &self.leaf {
            LeafParts::Pair { certificate, key } => {
                out.field("certificate_bytes", &length(certificate)).field("key_bytes", &length(key))
            }
            LeafParts::Bundle(bundle) => out.field("bundle_bytes", &length(bundle)),
        };
        out.field("trust_bytes", &length(&self.trust));
        out.field("revocation_bytes", &length(&self.revocation)).finish_non_exhaustive()
    }
}
