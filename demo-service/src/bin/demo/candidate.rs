//! Broken candidates: the content of a volume after a failed renewal. None may ever be served.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hotcert::pki::authority::{Authority, AuthorityError};
use hotcert::store::directory::atomic_volume::{SecretVolume, VolumeError};
use zeroize::Zeroizing;

use crate::identity::leaf_request;
use crate::leaf_tracker::{Fingerprint, fingerprint};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

#[derive(Clone, Copy, Debug)]
pub enum Defect {
    /// A certificate with the key of another one.
    Mismatched,
    /// A truncated certificate file.
    HalfWritten,
    /// A pair that expired minutes ago.
    Expired,
}

impl Defect {
    pub const ALL: [Self; 3] = [Self::Mismatched, Self::HalfWritten, Self::Expired];
}

pub struct Candidate {
    certificate: String,
    key: Zeroizing<String>,
    /// The leaf that a peer would be shown if it were served.
    pub leaf: Fingerprint,
}

#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot read the volume for a broken candidate: {0}")]
    Read(#[from] io::Error),
}

impl Candidate {
    pub fn broken(defect: Defect, authority: &Authority, service: &str) -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let leaf = match defect {
            Defect::Mismatched | Defect::HalfWritten => authority.issue(&leaf_request(service, DAY), now)?,
            Defect::Expired => {
                // Roots are backdated by minutes, so a leaf issued at their start has expired by now.
                let request = leaf_request(service, Duration::from_secs(1));
                authority.issue(&request, authority.not_before())?
            }
        };
        let mut candidate = Self {
            leaf: fingerprint(&leaf.certificate_der),
            certificate: leaf.certificate_pem,
            key: leaf.key_pem,
        };
        match defect {
            Defect::Mismatched => candidate.key = authority.issue(&leaf_request(service, DAY), now)?.key_pem,
            Defect::HalfWritten => candidate.certificate.truncate(candidate.certificate.len() / 2),
            Defect::Expired => {}
        }
        Ok(candidate)
    }

    /// Replaces certificate and key in the volume, without the control plane, and keeps the other files.
    pub fn write_to(&self, volume: &Path) -> Result<(), CandidateError> {
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
