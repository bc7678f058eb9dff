//! What the manager keeps: a root, a key that signs callbacks, and certificates in versions. All of it is in
//! files that are written whole or not at all, so that nothing is lost with the process.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hotcert::api::leaf_request::LeafRequest;
use hotcert::pki::authority::{Authority, AuthorityRequest};
use hotcert::pki::x509_facts::Leaf;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
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
    /// By id: the name in what is made here; `None` for what is brought.
    secrets: BTreeMap<String, Option<String>>,
    lifetime: Duration,
    /// Versions get their numbers one after the other.
    writing: Mutex<()>,
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

/// How far others were told of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// The version, in an event.
    pub rotated: u64,
    /// The version, in a callback.
    pub reimported: u64,
    /// The version, and what was reached.
    pub expiry: Option<(u64, String)>,
    /// A version that somebody wants to be announced as about to expire, until it was.
    pub wanted: Option<u64>,
}

impl Inventory {
    pub fn open(
        state: &Path,
        instance: &str,
        kept: &[String],
        made: &[(String, String)],
        lifetime: Duration,
    ) -> Result<Self> {
        let secrets = kept.iter().map(|id| (id.clone(), None));
        let secrets: BTreeMap<_, _> =
            secrets.chain(made.iter().map(|(id, name)| (id.clone(), Some(name.clone())))).collect();
        for id in secrets.keys() {
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                bail!("{id:?} is no id: letters, digits and hyphens");
            }
            fs::create_dir_all(state.join("secrets").join(id))
                .with_context(|| format!("making {}", state.display()))?;
        }
        // What another process did not finish: keys may be in it.
        let half = state.join("half");
        if half.exists() {
            fs::remove_dir_all(&half).with_context(|| format!("emptying {}", half.display()))?;
        }
        fs::create_dir_all(&half).with_context(|| format!("making {}", half.display()))?;
        let directory = state.join("root");
        if !directory.exists() {
            let request = AuthorityRequest {
                common_name: "demo-manager".into(),
                lifetime: 10 * YEAR,
                ..AuthorityRequest::default()
            };
            let root = Authority::create(&request, SystemTime::now())?;
            place(&half, &directory, &[("tls.crt", root.certificate_pem()), ("tls.key", &root.key_pem())])?;
        }
        let root = Authority::import(&read(&directory, "tls.crt")?, &read(&directory, "tls.key")?)?;
        let directory = state.join("instance");
        if !directory.exists() {
            let key = Zeroizing::new(KeyPair::generate_for(&PKCS_RSA_SHA256)?.serialize_pem());
            place(&half, &directory, &[("key.pem", &key)])?;
        }
        let key = read(&directory, "key.pem")?;
        let signing = KeyPair::from_pem(str::from_utf8(&key)?)?;
        let (state, instance) = (state.to_owned(), instance.to_owned());
        let inventory = Self { instance, state, root, signing, secrets, lifetime, writing: Mutex::default() };
        for (id, _) in inventory.secrets.iter().filter(|(_, name)| name.is_some()) {
            if inventory.newest(id)?.is_none() {
                inventory.make(id)?;
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

    pub fn makes(&self, id: &str) -> bool {
        self.secrets.get(id).is_some_and(Option::is_some)
    }

    pub fn root(&self) -> &str {
        self.root.certificate_pem()
    }

    /// Signs callbacks.
    pub fn signing_key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.signing.serialize_pem())
    }

    pub fn public_key(&self) -> String {
        self.signing.public_key_pem()
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.state.join("secrets").join(id)
    }

    /// For what is being written.
    fn half(&self) -> PathBuf {
        self.state.join("half")
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
        let leaf = Leaf::read(certificate.as_bytes()).context("it holds no certificate")?;
        let created = fs::metadata(directory.join("tls.crt"))?.modified()?;
        Ok(Version { number, created, certificate, key, leaf })
    }

    pub fn newest(&self, id: &str) -> Result<Option<Version>> {
        self.numbers(id)?.last().map(|number| self.version(id, *number)).transpose()
    }

    /// One more of those that are made here.
    pub fn make(&self, id: &str) -> Result<Version> {
        let Some(Some(name)) = self.secrets.get(id) else { bail!("{id} is not made here, but brought") };
        let request = LeafRequest {
            common_name: id.chars().take(64).collect(),
            dns_names: vec![name.clone()],
            lifetime: self.lifetime,
            ..LeafRequest::default()
        };
        let leaf = self.root.issue(&request, SystemTime::now())?;
        self.add(id, &leaf.certificate_pem, &leaf.key_pem)
    }

    /// One that somebody brings: its key must fit and it must not be over, as a manager would see to.
    pub fn bring(&self, id: &str, certificate: &str, key: &str) -> Result<Version> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the key cannot be read")?;
        CertifiedKey::from_der(chain, private, &provider())
            .context("the key does not fit the certificate")?;
        let leaf = Leaf::read(certificate.as_bytes()).context("it holds no certificate")?;
        if leaf.not_after <= SystemTime::now() {
            bail!("it expired at {}", humantime::format_rfc3339_seconds(leaf.not_after));
        }
        self.add(id, certificate, key)
    }

    fn add(&self, id: &str, certificate: &str, key: &str) -> Result<Version> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.numbers(id)?.last().map_or(1, |last| last + 1);
        let directory = self.directory(id).join(number.to_string());
        place(&self.half(), &directory, &[("tls.crt", certificate), ("tls.key", key)])?;
        let version = self.version(id, number)?;
        crate::say(
            &json!({"version": number, "of": id, "serial": version.leaf.serial, "sha256": version.leaf.sha256}),
        );
        Ok(version)
    }

    pub fn told(&self, id: &str) -> Result<Told> {
        let path = self.directory(id).join("told.json");
        if !path.exists() {
            return Ok(Told::default());
        }
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Changes what stands there, at once.
    pub fn tell(&self, id: &str, change: impl FnOnce(&mut Told)) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = self.told(id)?;
        change(&mut told);
        let directory = self.directory(id);
        let mut file = tempfile::NamedTempFile::new_in(self.half())?;
        file.write_all(&serde_json::to_vec(&told)?)?;
        file.as_file().sync_all()?;
        file.persist(directory.join("told.json"))?;
        Ok(())
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(directory: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let path = directory.join(name);
    Ok(Zeroizing::new(fs::read(&path).with_context(|| format!("reading {}", path.display()))?))
}

/// A directory of files that nobody else may read, whole or not at all; `half` is where it is written.
fn place(half: &Path, directory: &Path, files: &[(&str, &str)]) -> Result<()> {
    let parent = directory.parent().context("it has no place")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let half = tempfile::tempdir_in(half)?;
    for (name, text) in files {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(half.path().join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    fs::File::open(half.path())?.sync_all()?;
    fs::rename(half.keep(), directory)?;
    fs::File::open(parent)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(state: &Path) -> Inventory {
        let made = [("orders".to_owned(), "orders.shop.svc".to_owned())];
        Inventory::open(state, "crn:v1:x::", &["payments".to_owned()], &made, YEAR).unwrap()
    }

    #[test]
    fn what_is_kept_is_there_again_and_what_was_not_finished_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let first = open(home.path());
        first.make("orders").unwrap();
        first.tell("orders", |told| told.wanted = Some(2)).unwrap();
        fs::create_dir(first.half().join("killed")).unwrap();
        fs::write(first.half().join("killed/tls.key"), "a key").unwrap();

        let again = open(home.path());
        assert_eq!((first.root(), first.public_key()), (again.root(), again.public_key()));
        assert_eq!(again.numbers("orders").unwrap(), [1, 2]);
        assert_eq!(again.told("orders").unwrap(), Told { wanted: Some(2), ..Told::default() });
        assert_eq!(fs::read_dir(again.half()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_can_be_used_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let inventory = open(home.path());
        let (one, other) = (inventory.make("orders").unwrap(), inventory.make("orders").unwrap());
        for (certificate, key, why) in [
            (one.certificate.as_str(), other.key.as_str(), "does not fit"),
            ("", one.key.as_str(), "does not fit"),
            (one.certificate.as_str(), "", "cannot be read"),
        ] {
            let refused = inventory.bring("payments", certificate, key).map(drop).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused:#}");
        }
        let request = LeafRequest {
            common_name: "payments".into(),
            dns_names: vec!["payments.shop.svc".into()],
            lifetime: Duration::from_secs(3600),
            ..LeafRequest::default()
        };
        let past = SystemTime::now() - Duration::from_secs(7200);
        let root = AuthorityRequest {
            common_name: "another".into(),
            lifetime: 10 * YEAR,
            ..AuthorityRequest::default()
        };
        let old = Authority::create(&root, past).unwrap().issue(&request, past).unwrap();
        let refused = inventory.bring("payments", &old.certificate_pem, &old.key_pem).map(drop).unwrap_err();
        assert!(refused.to_string().contains("it expired at"), "{refused:#}");
        assert!(inventory.numbers("payments").unwrap().is_empty());
        assert_eq!(inventory.bring("payments", &one.certificate, &one.key).unwrap().number, 1);
    }
}
