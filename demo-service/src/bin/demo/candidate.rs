//! Broken candidates: what a volume holds when a renewal went wrong. None may ever be served.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hotcert::pki::authority::{Authority, AuthorityError};
use hotcert::store::directory::atomic_volume::{SecretVolume, VolumeError};
use zeroize::Zeroizing;

use crate::identity::leaf_request;
use crate::sightings::{Fingerprint, fingerprint};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A certificate beside the key of another.
    Mismatched,
    /// A certificate file that ends in the middle.
    HalfWritten,
    /// A pair that was good minutes ago.
    Expired,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Mismatched, Self::HalfWritten, Self::Expired];
}

pub struct Candidate {
    certificate: String,
    key: Zeroizing<String>,
    /// What a peer would see if it were served.
    pub leaf: Fingerprint,
}

#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot read the volume that a broken candidate is for: {0}")]
    Read(#[from] io::Error),
}

impl Candidate {
    pub fn broken(kind: Kind, authority: &Authority, service: &str) -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let leaf = match kind {
            Kind::Mismatched | Kind::HalfWritten => authority.issue(&leaf_request(service, DAY), now)?,
            Kind::Expired => {
                // Roots are backdated by minutes: there was time for a leaf to be born and to die.
                let request = leaf_request(service, Duration::from_secs(1));
                authority.issue(&request, authority.not_before())?
            }
        };
        let mut candidate = Self {
            leaf: fingerprint(&leaf.certificate_der),
            certificate: leaf.certificate_pem,
            key: leaf.key_pem,
        };
        match kind {
            Kind::Mismatched => candidate.key = authority.issue(&leaf_request(service, DAY), now)?.key_pem,
            Kind::HalfWritten => candidate.certificate.truncate(candidate.certificate.len() / 2),
            Kind::Expired => {}
        }
        Ok(candidate)
    }

    /// Behind the control plane's back, and beside whatever else it wrote there.
    pub fn slip_into(&self, volume: &Path) -> Result<(), CandidateError> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(volume.join("..data"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let contents = match name.as_str() {
                CERTIFICATE => Zeroizing::new(self.certificate.clone().into_bytes()),
                KEY => Zeroizing::new(self.key.as_bytes().to_vec()),
                _ => Zeroizing::new(std::fs::read(entry.path())?),
            };
            files.push((name, contents));
        }
        let files: Vec<_> =
            files.iter().map(|(name, contents)| (name.as_str(), contents.as_slice())).collect();
        SecretVolume::open(volume)?.publish(&files)?;
        Ok(())
    }
}
