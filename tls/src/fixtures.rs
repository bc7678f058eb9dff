//! Certificates for tests, and a handshake between two configurations.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use crate::config::{ClientAuth, Configs};
use crate::credential::{Credential, LeafParts};
use crate::identity::{Identity, Policy};

/// The DNS name of every leaf.
pub const NAME: &str = "payments.shop.svc";
/// No test waits longer for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub type Root = CertifiedIssuer<'static, KeyPair>;

pub fn root(name: &str) -> Root {
    root_with(name, |_| {})
}

pub fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Root {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A leaf with its key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A leaf for `NAME`, for servers and clients unless `change` says otherwise.
pub fn issue(root: &Root, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, root).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

pub fn bundle(roots: &[&Root]) -> String {
    roots.iter().map(|root| root.pem()).collect()
}

/// As a Secret volume has it.
pub fn credential(pair: &Pair, roots: &[&Root]) -> Credential {
    let part = |text: &str| Ok(Zeroizing::new(text.as_bytes().to_vec()));
    Credential {
        leaf: LeafParts::Pair { certificate: part(&pair.certificate), key: part(&pair.key) },
        trust: part(&bundle(roots)),
        revocation: Err(crate::credential::PartError::Missing { file: "ca.crl".into() }),
        revision: None,
        changed_at: None,
        atomic: true,
    }
}

pub fn identity(pair: &Pair, roots: &[&Root]) -> Identity {
    let credential = credential(pair, roots);
    Identity::parse(&credential, &Policy::default(), None, SystemTime::now()).merge(None).unwrap()
}

/// What `root` has withdrawn, in PEM, from the first of these moments to the second.
pub fn revocation_list(
    root: &Root,
    number: u64,
    revoked: &[&Pair],
    (from, until): (SystemTime, SystemTime),
) -> String {
    revocation_list_with(root, number, revoked, (from, until), None)
}

/// Of the certificates that its issuing distribution point says.
pub fn revocation_list_with(
    root: &Root,
    number: u64,
    revoked: &[&Pair],
    (from, until): (SystemTime, SystemTime),
    issuing_distribution_point: Option<rcgen::CrlIssuingDistributionPoint>,
) -> String {
    let entry = |pair: &&Pair| {
        let section = &crate::credential::pem::sections(pair.certificate.as_bytes()).unwrap()[0];
        let (_, certificate) = x509_parser::parse_x509_certificate(&section.der).unwrap();
        rcgen::RevokedCertParams {
            serial_number: certificate.raw_serial().to_vec().into(),
            revocation_time: from.into(),
            reason_code: None,
            invalidity_date: None,
        }
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update: from.into(),
        next_update: until.into(),
        crl_number: number.into(),
        issuing_distribution_point,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(root).unwrap().pem().unwrap()
}

pub fn configs(identity: &Identity) -> Configs {
    Configs::build(identity, ClientAuth::Require).unwrap()
}

/// A client with a leaf of `issuer` that expects `NAME` under one of `roots`.
pub fn client(issuer: &Root, roots: &[&Root]) -> Arc<ClientConfig> {
    let configs = configs(&identity(&issue(issuer, |_| {}), roots));
    configs.client(&NAME.parse().unwrap(), &[]).unwrap()
}

/// One byte each way over TLS. Returns the DER of the leaf that the server showed, or what the server
/// failed with.
pub async fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> io::Result<Vec<u8>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.flush().await
    };
    let connect = async {
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_u8(0).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, io::Error>(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
    };
    let both = async { tokio::join!(accept, connect) };
    let (accepted, connected) = tokio::time::timeout(DEADLINE, both).await?;
    accepted.and(connected)
}

/// For clients that present what they like, and do not judge the server.
pub fn trusting_all() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    Arc::new(TrustingAll)
}

#[derive(Debug)]
struct TrustingAll;

impl rustls::client::danger::ServerCertVerifier for TrustingAll {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        crate::crypto::algorithms().supported_schemes()
    }
}
