//! One verdict for one's own chain, a client's and a server's.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::*;
use crate::fixtures::{self, Pair};
use crate::identity::{Identity, Policy, RejectionReason};

mod revocation;

const DAY: Duration = Duration::from_secs(86_400);

/// A leaf under an intermediate under a root.
struct Case {
    root: fixtures::Root,
    pair: Pair,
}

fn case(of_root: impl FnOnce(&mut CertificateParams), of_mid: impl FnOnce(&mut CertificateParams)) -> Case {
    let root = fixtures::root_with("root", of_root);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "mid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    of_mid(&mut params);
    let mid = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let Pair { certificate, key } = fixtures::issue(&mid, |_| {});
    Case { root, pair: Pair { certificate: format!("{certificate}{}", mid.pem()), key } }
}

impl Case {
    fn own(&self) -> Result<(), RejectionReason> {
        let credential = fixtures::credential(&self.pair, &[&self.root]);
        let validation = Identity::parse(&credential, &Policy::default(), None, SystemTime::now());
        validation.leaf.map(|_| ()).map_err(|rejection| rejection.reason())
    }

    /// Whether servers and clients under the same root take it: by its chain, and by a handshake with an ordinary peer.
    async fn as_server_and_client(&self) -> (bool, bool) {
        let peer = fixtures::identity(&fixtures::issue(&self.root, |_| {}), &[&self.root]);
        let peer_configs = fixtures::configs(&peer);
        // What is not served by this library may be presented by another.
        let chain: Vec<_> = crate::credential::pem::sections(self.pair.certificate.as_bytes())
            .unwrap()
            .iter()
            .map(|section| CertificateDer::from(section.der.to_vec()))
            .collect();
        let at = UnixTime::now();
        let (server, client) =
            (peer_configs.trusts_server(&chain, at), peer_configs.trusts_client(&chain, at));
        let key = rustls::pki_types::pem::PemObject::from_pem_slice(self.pair.key.as_bytes()).unwrap();
        let presenting = rustls::ClientConfig::builder_with_provider(Arc::clone(crate::crypto::provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(crate::fixtures::trusting_all())
            .with_client_auth_cert(chain, key)
            .unwrap();
        let handshake = fixtures::handshake(Arc::new(presenting), peer_configs.server.clone().unwrap()).await;
        assert_eq!(handshake.is_ok(), client, "{handshake:?}");
        (server, client)
    }
}

#[tokio::test]
async fn a_chain_is_judged_alike_as_own_as_client_and_as_server() {
    let ordinary = case(|_| {}, |_| {});
    assert_eq!(ordinary.own(), Ok(()));
    assert_eq!(ordinary.as_server_and_client().await, (true, true));

    let no_cert_sign = case(|_| {}, |mid| mid.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert_eq!(no_cert_sign.own(), Err(RejectionReason::IssuerNotAllowed));
    assert_eq!(no_cert_sign.as_server_and_client().await, (false, false));

    let too_long = case(|root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), |_| {});
    assert_eq!(too_long.own(), Err(RejectionReason::IssuerNotAllowed));
    assert_eq!(too_long.as_server_and_client().await, (false, false));

    // A certificate of an authority for itself, such as a new key under the old one, is not counted.
    let of_itself = case(
        |root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        |mid| {
            mid.distinguished_name = rcgen::DistinguishedName::new();
            mid.distinguished_name.push(DnType::CommonName, "rcgen self signed cert");
            mid.distinguished_name.push(DnType::CommonName, "root");
        },
    );
    assert_eq!(of_itself.own(), Ok(()));

    let young = case(|root| root.not_before = (SystemTime::now() + DAY).into(), |_| {});
    assert_eq!(young.own(), Err(RejectionReason::NotYetValid));
}

#[tokio::test]
async fn the_usage_of_a_root_binds_those_below_it() {
    let servers_only =
        case(|root| root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], |_| {});
    assert_eq!(servers_only.own(), Ok(()), "as a server alone");
    let credential = fixtures::credential(&servers_only.pair, &[&servers_only.root]);
    let leaf = Identity::parse(&credential, &Policy::default(), None, SystemTime::now()).leaf.unwrap();
    assert_eq!(leaf.roles.labels(), ["server"]);
}

#[test]
fn a_root_that_may_not_sign_is_no_root() {
    let case = case(|root| root.key_usages = vec![KeyUsagePurpose::CrlSign], |_| {});
    let credential = fixtures::credential(&case.pair, &[&case.root]);
    let validation = Identity::parse(&credential, &Policy::default(), None, SystemTime::now());
    let rejection = validation.trust.unwrap_err();
    assert_eq!(rejection.reason(), RejectionReason::EmptyBundle);
    assert!(rejection.to_string().contains("keyCertSign"), "{rejection}");
}
