//! Ordinary certificates, from our own authority, and the files in which clients want them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hotcert::api::algorithm::Algorithm;
use hotcert::api::leaf_request::LeafRequest;
use hotcert::pki::authority::{Authority, AuthorityRequest};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use x509_parser::pem::Pem;

use crate::volume::Volume;

pub const HOUR: Duration = Duration::from_secs(3600);

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
    /// Of the leaf: lower hex without leading zeros.
    pub serial: String,
    /// Hex, of the leaf's DER.
    pub sha256: String,
}

impl Pair {
    pub fn new(cert: impl Into<String>, key: impl Into<String>) -> Self {
        let (cert, key) = (cert.into(), key.into());
        let leaf = Pem::iter_from_buffer(cert.as_bytes()).next().unwrap().unwrap();
        let serial = serial(&leaf.parse_x509().unwrap().tbs_certificate.raw_serial_as_string());
        Self { serial, sha256: hex(&Sha256::digest(&leaf.contents)), cert, key }
    }
}

/// One spelling for the serial numbers of OpenSSL, Python, rcgen and the agent.
pub fn serial(text: &str) -> String {
    text.replace(':', "").trim_start_matches('0').to_ascii_lowercase()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files that a client is given.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

pub fn authority(name: &str) -> Authority {
    let request = AuthorityRequest { common_name: name.into(), lifetime: 24 * HOUR, ..Default::default() };
    Authority::create(&request, SystemTime::now()).unwrap()
}

/// What `name` of the namespace `shop` is issued by default.
pub fn request(name: &str) -> LeafRequest {
    LeafRequest {
        common_name: name.into(),
        dns_names: vec![dns(name), "localhost".into()],
        ip_addresses: Vec::new(),
        spiffe_id: Some(spiffe(name)),
        algorithm: Algorithm::P256,
        lifetime: HOUR,
        usage: Default::default(),
    }
}

pub fn dns(name: &str) -> String {
    format!("{name}.shop.svc")
}

pub fn spiffe(name: &str) -> String {
    format!("spiffe://cluster.test/ns/shop/sa/{name}")
}

pub fn issue(authority: &Authority, request: &LeafRequest) -> Pair {
    let leaf = authority.issue(request, SystemTime::now()).unwrap();
    Pair::new(leaf.certificate_pem, leaf.key_pem.as_str())
}

/// A root, and a directory that is removed with it.
pub struct Pki {
    pub root: Authority,
    directory: TempDir,
}

impl Default for Pki {
    fn default() -> Self {
        Self { root: authority("root one"), directory: TempDir::new().unwrap() }
    }
}

impl Pki {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn roots(&self) -> &str {
        self.root.certificate_pem()
    }

    pub fn leaf(&self, name: &str) -> Pair {
        issue(&self.root, &request(name))
    }

    /// A mounted Secret with nothing in it yet.
    pub fn volume(&self, name: &str) -> Volume {
        Volume::open(self.path(name))
    }

    /// A client under this root that trusts this root.
    pub fn client(&self, name: &str) -> Credentials {
        self.credentials(name, &self.leaf(name), self.roots())
    }

    pub fn credentials(&self, name: &str, pair: &Pair, roots: &str) -> Credentials {
        let write = |suffix: &str, content: &str| write(&self.path(&format!("{name}{suffix}")), content);
        Credentials {
            cert: write("-client.crt", &pair.cert),
            key: write("-client.key", &pair.key),
            ca: write("-client-ca.crt", roots),
        }
    }
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) -> PathBuf {
    std::fs::write(path, content).unwrap();
    path.to_owned()
}
