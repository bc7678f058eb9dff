//! What a chain is refused for, on both sides of a handshake, how many signatures are computed until then, and what
//! honest chains look like that are accepted.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512,
};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, ServerConnection, SignatureScheme};

use super::*;
use crate::config::ClientAuth;
use crate::crypto::signature_cache::COMPUTED;
use crate::fixtures::{NAME, Pair, Root, configs, identity, issue, root};
use crate::handshake::{HandshakeError, HandshakeFailure};

/// A leaf with its key, and what it presents besides.
struct Presented {
    leaf: Pair,
    intermediates: Vec<CertificateDer<'static>>,
}

impl Presented {
    fn by(issuer: &Root, intermediates: Vec<CertificateDer<'static>>) -> Self {
        Self { leaf: issue(issuer, |_| {}), intermediates }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let leaf = CertificateDer::from_pem_slice(self.leaf.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.leaf.key.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let chain = [leaf].into_iter().chain(self.intermediates.clone()).collect();
        Arc::new(CertifiedKey::new(chain, key))
    }
}

/// Of a client: presents its chain whatever the server says of acceptable ones.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stranger {
    Client,
    Server,
}

/// A handshake of an identity that trusts `trusted` with a stranger: how it ended on the side of the identity, and how
/// many signatures of certificates it computed.
fn meet(stranger: Stranger, presented: &Presented, trusted: &[&Root]) -> (Result<(), HandshakeError>, usize) {
    let ours = configs(&identity(&issue(trusted[0], |_| {}), trusted));
    let own_server = ours.server.clone().unwrap();
    let own_client = ours.client(&NAME.parse().unwrap(), &[]).unwrap();
    let certified = presented.certified();
    let (client, server) = match stranger {
        Stranger::Client => {
            let mut config = rustls::ClientConfig::clone(&own_client);
            config.client_auth_cert_resolver = Arc::new(Always(certified));
            (Arc::new(config), own_server)
        }
        Stranger::Server => {
            let open = crate::config::Configs::build(
                &identity(&issue(trusted[0], |_| {}), trusted),
                ClientAuth::None,
            );
            let mut config = rustls::ServerConfig::clone(&open.unwrap().server.unwrap());
            config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
            (own_client, Arc::new(config))
        }
    };
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut computed = 0;
    let failed = |error: rustls::Error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    for _ in 0..8 {
        let (error, count) = transfer(&mut client, &mut server);
        computed += if stranger == Stranger::Client { count } else { 0 };
        if let Some(error) = error {
            return (Err(HandshakeError::WithClient(failed(error))), computed);
        }
        let (error, count) = transfer(&mut server, &mut client);
        computed += if stranger == Stranger::Server { count } else { 0 };
        if let Some(error) = error {
            return (Err(HandshakeError::WithServer(failed(error))), computed);
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (Ok(()), computed)
}

/// What `to` says of what `from` sends, and how many signatures it computed for it.
fn transfer<A, B>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) -> (Option<rustls::Error>, usize) {
    let mut flight = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut flight).unwrap();
    }
    let before = COMPUTED.get();
    let mut rest = flight.as_slice();
    while !rest.is_empty() {
        if to.read_tls(&mut rest).is_err() {
            break;
        }
        if let Err(error) = to.process_new_packets() {
            return (Some(error), COMPUTED.get() - before);
        }
    }
    (None, COMPUTED.get() - before)
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn intermediate(name: &str, issuer: &Root) -> Root {
    CertifiedIssuer::signed_by(ca_params(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

fn ders(issuers: &[Root]) -> Vec<CertificateDer<'static>> {
    issuers.iter().map(|issuer| issuer.der().clone()).collect()
}

fn assert_too_costly(presented: &Presented, trusted: &[&Root], most: usize, cause: &str) {
    for stranger in [Stranger::Client, Stranger::Server] {
        let (result, computed) = meet(stranger, presented, trusted);
        let error = result.unwrap_err();
        assert_eq!(error.failure(), HandshakeFailure::ChainTooCostly, "{stranger:?}: {error}");
        assert!(error.to_string().contains(cause), "{stranger:?}: {error}");
        assert!(computed <= most, "{stranger:?}: {computed} signatures");
    }
}

#[test]
fn chain_of_too_many_certificates_or_bytes_is_refused_before_it_is_verified() {
    let ours = root("ours");
    let many = Presented::by(&ours, ders(&[const { 0 }; 10].map(|_| root("other"))));
    assert_too_costly(&many, &[&ours], 0, "it has 11 certificates, and 10 are the most");
    let limits = ChainLimits::under(&[]);
    let large = vec![CertificateDer::from(vec![0; MAX_BYTES / 2]); 2];
    let verified = limits.verify::<(), ()>(&many.certified().cert[0], &large, || panic!("it was verified"));
    assert!(matches!(verified, Err(ChainLimit::Bytes(bytes)) if bytes > MAX_BYTES));
}

#[test]
fn certificates_of_one_name_are_not_tried_in_every_order() {
    let ours = root("ours");
    for count in [4, 6, 9] {
        // Whether or not a root has that name, too.
        for name in ["other", "ours"] {
            let issuers: Vec<_> = (0..count).map(|_| root(name)).collect();
            let presented = Presented::by(&issuers[0], ders(&issuers));
            assert_too_costly(&presented, &[&ours], 0, "lead to each other in too many ways");
        }
    }
}

#[test]
fn signatures_that_do_not_verify_are_bounded_the_more_they_cost() {
    let large_key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let (ours, large) = (root("root"), CertifiedIssuer::self_signed(ca_params("large"), large_key).unwrap());
    for (forged_name, most) in [("root", 3), ("large", 2)] {
        let forged = root(forged_name);
        let issuers: Vec<_> = (0..9).map(|_| intermediate("intermediate", &forged)).collect();
        let presented = Presented::by(&issuers[8], ders(&issuers));
        assert_too_costly(&presented, &[&ours, &large], most, "are not those of the issuers that it names");
    }
}

#[test]
fn ordinary_stranger_costs_at_most_one_signature_and_is_untrusted() {
    let (ours, other, same_name) = (root("ours"), root("other"), root("ours"));
    for (issuer, most) in [(&other, 0), (&same_name, 1)] {
        for stranger in [Stranger::Client, Stranger::Server] {
            let (result, computed) = meet(stranger, &Presented::by(issuer, Vec::new()), &[&ours]);
            assert!(result.is_err());
            assert_eq!(computed, most);
        }
    }
}

#[test]
fn chains_that_peers_present_in_practice_are_within_the_limits() {
    let (ours, older) = (root("ours"), root("older"));
    let straight = {
        let mut issuers = vec![intermediate("1", &ours)];
        for number in 2..=6 {
            issuers.push(intermediate(&number.to_string(), &issuers[number - 2]));
        }
        issuers
    };
    let crossed = [intermediate("crossed", &ours), intermediate("crossed", &older)];
    let needless: Vec<_> = (0..8).map(|number| root(&format!("needless {number}"))).collect();
    let mut reversed = ders(&straight);
    reversed.reverse();
    let cases = [
        ("straight", Presented::by(&straight[5], reversed)),
        ("out of order", Presented::by(&straight[5], ders(&straight))),
        ("with its root", Presented::by(&ours, vec![ours.der().clone()])),
        ("of two roots", Presented::by(&crossed[0], ders(&crossed))),
        ("of two roots, the other order", Presented::by(&crossed[1], ders(&crossed))),
        ("with what is not needed", Presented::by(&ours, ders(&needless))),
    ];
    for (label, presented) in cases {
        for stranger in [Stranger::Client, Stranger::Server] {
            let (result, _) = meet(stranger, &presented, &[&ours, &older]);
            assert!(result.is_ok(), "{label}, {stranger:?}: {}", result.unwrap_err());
        }
    }
}

#[test]
fn every_root_of_one_name_is_tried_however_many_a_bundle_has() {
    // Of costly keys, too.
    let large_key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let large = || CertifiedIssuer::self_signed(ca_params("root"), large_key()).unwrap();
    let roots: Vec<_> = (0..40).map(|number| if number % 2 == 0 { root("root") } else { large() }).collect();
    let trusted: Vec<_> = roots.iter().collect();
    for issuer in [&roots[0], &roots[20], &roots[39]] {
        for stranger in [Stranger::Client, Stranger::Server] {
            assert!(meet(stranger, &Presented::by(issuer, Vec::new()), &trusted).0.is_ok());
        }
    }
}
