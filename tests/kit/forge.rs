//! Certificates that our own authority would never issue: expired, without usages, under
//! intermediates, with keys for tests alone.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

use crate::pki::{Pair, dns, spiffe, write};

/// A root or an intermediate with nothing to hold it back.
pub struct Forge {
    pub cert: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Forge {
    fn default() -> Self {
        Self::root("forged root")
    }
}

impl Forge {
    pub fn root(name: &str) -> Self {
        Self::root_until(name, from_now(86400))
    }

    pub fn root_until(name: &str, end: time::OffsetDateTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority(name);
        params.not_after = end;
        let cert = params.self_signed(&key).unwrap().pem();
        Self { cert, key: key.serialize_pem(), issuer: Issuer::new(params, key) }
    }

    /// An authority under this one.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name);
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { cert, key: key.serialize_pem(), issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, name: &str) -> Pair {
        self.leaf_with(name, |_| ())
    }

    /// A leaf like any other, but for what `change` does to it.
    pub fn leaf_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = leaf(name, change).signed_by(&key, &self.issuer).unwrap().pem();
        Pair::new(cert, key.serialize_pem())
    }

    /// A leaf with an RSA key of 1024 bits, which only OpenSSL still makes.
    pub fn weak_leaf(&self, name: &str) -> Pair {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        write(&path("ca.crt"), &self.cert);
        write(&path("ca.key"), &self.key);
        write(&path("ext"), format!("subjectAltName=DNS:{},URI:{}", dns(name), spiffe(name)));
        for line in [
            "req -new -newkey rsa:1024 -nodes -subj /CN=weak -keyout weak.key -out weak.csr",
            "x509 -req -in weak.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out weak.crt",
        ] {
            let output =
                Command::new("openssl").args(line.split(' ')).current_dir(directory.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        Pair::new(read("weak.crt"), read("weak.key"))
    }
}

/// The time `seconds` from now; negative is past.
pub fn from_now(seconds: i64) -> time::OffsetDateTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    if seconds < 0 { (now - distance).into() } else { (now + distance).into() }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from_now(-3600), from_now(86400));
    params
}

fn leaf(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![
        SanType::DnsName(dns(name).try_into().unwrap()),
        SanType::DnsName("localhost".try_into().unwrap()),
        SanType::URI(spiffe(name).try_into().unwrap()),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (from_now(-300), from_now(3600));
    change(&mut params);
    params
}
