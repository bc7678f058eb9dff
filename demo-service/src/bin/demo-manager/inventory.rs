//! The state of the manager: a root, the key that signs callbacks, and certificates in versions. It lives in files that
//! are written atomically, so a crash loses nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hotcert::api::leaf_request::LeafRequest;
use hotcert::digest::sha256_hex;
use hotcert::pki::authority::{Authority, AuthorityRequest};
use hotcert::pki::x509_facts::Leaf;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub struct Inventory {
    pub instance: String,
    state: PathBuf,
    root: Authority,
    signing: KeyPair,
    /// By name.
    secrets: BTreeMap<String, Kind>,
    lifetime: Duration,
    /// Held while the number of a new version is chosen, and while delivery state changes.
    write_lock: Mutex<()>,
}

/// Where the versions of a secret come from.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An imported_cert: certificate and key are pushed.
    Imported,
    /// An imported_cert whose key is made here, for this DNS name: a certificate for that key is pushed.
    ManagedCsr(String),
    /// A private_cert: it is issued here, for this DNS name.
    Issued(String),
}

#[derive(Clone)]
pub struct Version {
    pub number: u64,
    pub created: SystemTime,
    /// PEM, leaf first.
    pub certificate: String,
    pub key: Zeroizing<String>,
    pub leaf: Leaf,
}

/// Which notifications about a certificate were delivered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryState {
    /// The last version that was reported as rotated, in an event.
    pub rotated: u64,
    /// The last version that was reported as reimported, in a callback.
    pub reimported: u64,
    /// The version and the threshold that were reported last, in a callback.
    pub expiry: Option<(u64, String)>,
    /// A version whose expiry is to be reported on request, until it was.
    pub requested_expiry: Option<u64>,
}

impl Inventory {
    pub fn open(
        state: &Path,
        instance: &str,
        secrets: BTreeMap<String, Kind>,
        lifetime: Duration,
    ) -> Result<Self> {
        for id in secrets.keys() {
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                bail!("{id:?} is not an id: use letters, digits and hyphens");
            }
            fs::create_dir_all(state.join("secrets").join(id))
                .with_context(|| format!("cannot create {}", state.display()))?;
        }
        // Files that a crashed process did not finish; there may be keys among them.
        let staging = state.join("staging");
        if staging.exists() {
            fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
        }
        fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
        let directory = state.join("root");
        if !directory.exists() {
            let request = AuthorityRequest {
                common_name: "demo-manager".into(),
                lifetime: 10 * YEAR,
                ..AuthorityRequest::default()
            };
            let root = Authority::create(&request, SystemTime::now())?;
            write_directory(
                &staging,
                &directory,
                &[("tls.crt", root.certificate_pem()), ("tls.key", &root.key_pem())],
            )?;
        }
        let root = Authority::import(&read(&directory, "tls.crt")?, &read(&directory, "tls.key")?)?;
        let directory = state.join("instance");
        if !directory.exists() {
            let key = Zeroizing::new(KeyPair::generate_for(&PKCS_RSA_SHA256)?.serialize_pem());
            write_directory(&staging, &directory, &[("key.pem", &key)])?;
        }
        let key = read(&directory, "key.pem")?;
        let signing = KeyPair::from_pem(str::from_utf8(&key)?)?;
        let (state, instance) = (state.to_owned(), instance.to_owned());
        let inventory =
            Self { instance, state, root, signing, secrets, lifetime, write_lock: Mutex::default() };
        for (id, kind) in &inventory.secrets {
            match kind {
                Kind::Issued(_) if inventory.newest(id)?.is_none() => drop(inventory.issue(id)?),
                Kind::ManagedCsr(name) if !inventory.csr_directory(id).exists() => {
                    inventory.make_csr(id, name)?;
                }
                _ => {}
            }
        }
        Ok(inventory)
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    pub fn has(&self, id: &str) -> bool {
        self.secrets.contains_key(id)
    }

    /// Whether it has a version, or a CSR that a version can be made for.
    pub fn exists(&self, id: &str) -> Result<bool> {
        Ok(match self.secrets.get(id) {
            None => false,
            Some(Kind::ManagedCsr(_)) => true,
            Some(_) => !self.numbers(id)?.is_empty(),
        })
    }

    /// The id of a secret in the API of Secrets Manager; it stays the same.
    pub fn uuid(&self, name: &str) -> String {
        let digest = sha256_hex(format!("{} {name}", self.instance).as_bytes());
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digest[part]);
        parts.join("-")
    }

    /// The name of the secret with this id.
    pub fn find(&self, uuid: &str) -> Option<&str> {
        self.ids().find(|name| self.uuid(name) == uuid)
    }

    pub fn issues(&self, id: &str) -> bool {
        matches!(self.secrets.get(id), Some(Kind::Issued(_)))
    }

    /// The CSR that was made here for this secret, and its key.
    pub fn managed_csr(&self, id: &str) -> Result<Option<(String, Zeroizing<String>)>> {
        if !matches!(self.secrets.get(id), Some(Kind::ManagedCsr(_))) {
            return Ok(None);
        }
        let directory = self.csr_directory(id);
        let key = read(&directory, "tls.key")?;
        let key = Zeroizing::new(str::from_utf8(&key)?.to_owned());
        Ok(Some((String::from_utf8(read(&directory, "tls.csr")?.to_vec())?, key)))
    }

    fn make_csr(&self, id: &str, name: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        let csr = CertificateParams::new(vec![name.to_owned()])?.serialize_request(&key)?.pem()?;
        let key = Zeroizing::new(key.serialize_pem());
        write_directory(&self.staging(), &self.csr_directory(id), &[("tls.csr", &csr), ("tls.key", &key)])
    }

    fn csr_directory(&self, id: &str) -> PathBuf {
        self.directory(id).join("csr")
    }

    pub fn root(&self) -> &str {
        self.root.certificate_pem()
    }

    /// The key that signs callbacks, in PEM.
    pub fn signing_key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.signing.serialize_pem())
    }

    pub fn public_key(&self) -> String {
        self.signing.public_key_pem()
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.state.join("secrets").join(id)
    }

    /// Where files are written before they are renamed into place.
    fn staging(&self) -> PathBuf {
        self.state.join("staging")
    }

    pub fn numbers(&self, id: &str) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.directory(id))? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub fn version(&self, id: &str, number: u64) -> Result<Version> {
        let directory = self.directory(id).join(number.to_string());
        let certificate = String::from_utf8(read(&directory, "tls.crt")?.to_vec())?;
        let key = read(&directory, "tls.key")?;
        let key = Zeroizing::new(str::from_utf8(&key)?.to_owned());
        let leaf = Leaf::read(certificate.as_bytes()).context("the PEM contains no certificate")?;
        let created = fs::metadata(directory.join("tls.crt"))?.modified()?;
        Ok(Version { number, created, certificate, key, leaf })
    }

    pub fn newest(&self, id: &str) -> Result<Option<Version>> {
        self.numbers(id)?.last().map(|number| self.version(id, *number)).transpose()
    }

    /// A new version of a certificate that is issued here.
    pub fn issue(&self, id: &str) -> Result<Version> {
        let Some(Kind::Issued(name)) = self.secrets.get(id) else {
            bail!("{id} is not issued here: push a version instead")
        };
        let request = LeafRequest {
            common_name: id.chars().take(64).collect(),
            dns_names: vec![name.clone()],
            lifetime: self.lifetime,
            ..LeafRequest::default()
        };
        let leaf = self.root.issue(&request, SystemTime::now())?;
        self.add(id, &leaf.certificate_pem, &leaf.key_pem)
    }

    /// Deletes every version of a secret, and what was delivered about it.
    pub fn delete(&self, id: &str) -> Result<()> {
        let _guard = self.write_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory(id);
        fs::remove_dir_all(&directory)?;
        fs::create_dir_all(&directory)?;
        Ok(())
    }

    /// Stores a version that is pushed. Its key must match and it must not have expired.
    pub fn push(&self, id: &str, certificate: &str, key: Option<&str>) -> Result<Version> {
        let managed = self.managed_csr(id)?.map(|(_, key)| key);
        let key = match (self.secrets.get(id), key, &managed) {
            (Some(Kind::ManagedCsr(_)), None, Some(managed)) => managed,
            (Some(Kind::ManagedCsr(_)), ..) => {
                bail!("private_key is not accepted where the CSR is managed: it was made here")
            }
            (Some(Kind::Issued(_)), ..) => bail!("the versions of a private_cert are made by rotation"),
            (_, Some(key), _) => key,
            (_, None, _) => bail!("private_key is missing"),
        };
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("cannot parse the key")?;
        CertifiedKey::from_der(chain, private, &provider())
            .context("the key does not match the certificate")?;
        let leaf = Leaf::read(certificate.as_bytes()).context("the PEM contains no certificate")?;
        if leaf.not_after <= SystemTime::now() {
            bail!("the certificate expired at {}", humantime::format_rfc3339_seconds(leaf.not_after));
        }
        self.add(id, certificate, key)
    }

    fn add(&self, id: &str, certificate: &str, key: &str) -> Result<Version> {
        let _guard = self.write_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.numbers(id)?.last().map_or(1, |last| last + 1);
        let directory = self.directory(id).join(number.to_string());
        write_directory(&self.staging(), &directory, &[("tls.crt", certificate), ("tls.key", key)])?;
        let version = self.version(id, number)?;
        crate::log(
            &json!({"version": number, "secret": id, "serial": version.leaf.serial, "sha256": version.leaf.sha256}),
        );
        Ok(version)
    }

    pub fn delivery(&self, id: &str) -> Result<DeliveryState> {
        let path = self.directory(id).join("delivery.json");
        if !path.exists() {
            return Ok(DeliveryState::default());
        }
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Changes the delivery state atomically.
    pub fn update_delivery(&self, id: &str, change: impl FnOnce(&mut DeliveryState)) -> Result<()> {
        let _guard = self.write_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delivery = self.delivery(id)?;
        change(&mut delivery);
        let directory = self.directory(id);
        let mut file = tempfile::NamedTempFile::new_in(self.staging())?;
        file.write_all(&serde_json::to_vec(&delivery)?)?;
        file.as_file().sync_all()?;
        file.persist(directory.join("delivery.json"))?;
        Ok(())
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(directory: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let path = directory.join(name);
    Ok(Zeroizing::new(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
}

/// Writes a directory of private files atomically, by way of `staging`.
fn write_directory(staging: &Path, directory: &Path, files: &[(&str, &str)]) -> Result<()> {
    let parent = directory.parent().context("the directory has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let temporary = tempfile::tempdir_in(staging)?;
    for (name, text) in files {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(temporary.path().join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    fs::File::open(temporary.path())?.sync_all()?;
    fs::rename(temporary.keep(), directory)?;
    fs::File::open(parent)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests;
