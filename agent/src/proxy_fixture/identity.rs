//! Certificates for tests, and an identity that a test publishes by the library's own path.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use hotcert_tls::credential::Credential;
use hotcert_tls::identity::{Identity, Policy};
use hotcert_tls::status::Outcome;
use hotcert_tls::{Identities, ManualSource, Reloader, Snapshot};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The DNS name in every leaf, beside 127.0.0.1.
pub const NAME: &str = "a.test";

pub type Root = CertifiedIssuer<'static, KeyPair>;

pub fn root(name: &str) -> Root {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A leaf with its key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A leaf of `issuer` for `NAME` and 127.0.0.1, for these usages.
pub fn leaf_for(issuer: &Root, usages: Vec<ExtendedKeyUsagePurpose>) -> Pair {
    leaf_with(issuer, |params| params.extended_key_usages = usages)
}

/// A leaf for servers and clients that is valid from `begin` to `end`.
pub fn leaf_from(issuer: &Root, begin: SystemTime, end: SystemTime) -> Pair {
    leaf_with(issuer, |params| (params.not_before, params.not_after) = (begin.into(), end.into()))
}

fn leaf_with(issuer: &Root, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::new(vec![NAME.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A leaf for servers and clients.
pub fn leaf(issuer: &Root) -> Pair {
    leaf_for(issuer, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
}

/// An identity, and the credential that it came from.
pub struct Issued {
    credential: Credential,
    identity: Identity,
}

impl Deref for Issued {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// An identity under `issuer` that trusts `roots`.
pub fn identity(issuer: &Root, roots: &[&Root]) -> Issued {
    identity_of(&leaf(issuer), roots)
}

pub fn identity_of(pair: &Pair, roots: &[&Root]) -> Issued {
    let part = |text: &str| text.as_bytes().to_vec();
    let bundle: String = roots.iter().map(|root| root.pem()).collect();
    let mut credential = Credential::pem(part(&pair.certificate), part(&pair.key), part(&bundle));
    credential.changed_at = Some(SystemTime::now());
    let validation = Identity::parse(&credential, &Policy::default(), None, SystemTime::now());
    let identity = validation.merge(None).unwrap();
    Issued { credential, identity }
}

/// The writer of an identity, and its readers.
pub struct Publisher {
    source: ManualSource,
    pub identities: Identities,
}

/// A writer that has published nothing yet.
pub fn publisher() -> Publisher {
    let (source, identities) = Reloader::builder().client_only().start_manually();
    Publisher { source, identities }
}

pub fn publish(publisher: &mut Publisher, issued: &Issued) -> Arc<Snapshot> {
    assert_eq!(publisher.source.offer(&issued.credential), Outcome::Published);
    publisher.identities.current().unwrap()
}
