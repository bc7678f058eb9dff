//! TLS configurations made from an `Identity`. The only place that builds rustls configs: no
//! resumption in either direction (a stored session would outlive the trust it was made under),
//! and no verifier that can be swapped beneath a handshake.

mod client_auth;
mod server_verifier;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use client_auth::{ClientAuth, ClientAuthError};
pub use server_verifier::{ExpectedServer, ExpectedServerError};

use crate::tls::crypto::{fast_provider, provider};
use crate::tls::identity::trust::Root;
use crate::tls::identity::{Identity, Leaf};

/// ALPN of a program's connection to its own listener, so that the listener answers it without the app.
pub const SELF_CHECK_ALPN: &[u8] = b"hotcert-self-check";

/// The configurations of one identity. Those for a role that it does not have are `None`.
#[derive(Debug)]
pub struct Configs {
    /// Inbound, without ALPN.
    pub inbound: Option<Arc<ServerConfig>>,
    /// Inbound, negotiating h2 or http/1.1.
    pub inbound_http: Option<Arc<ServerConfig>>,
    /// Always mTLS, whatever the inbound listeners require.
    pub proof: Option<Arc<ServerConfig>>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    outbound: Option<Outbound>,
}

#[derive(Debug)]
struct Outbound {
    leaf: Arc<Leaf>,
    roots: Arc<RootCertStore>,
}

impl Configs {
    pub fn build(identity: &Identity, client_auth: ClientAuth) -> Result<Self, rustls::Error> {
        let Identity { leaf, trust } = identity;
        let clients = trust.as_deref().map(|trust| client_verifier(&trust.store)).transpose()?;
        let proof = match &clients {
            Some(clients) if leaf.roles.server => Some(server_config(leaf, Some(clients), HTTP_1)?),
            _ => None,
        };
        let required = match (client_auth, &clients) {
            // Fail closed: mTLS was asked for and there is nothing to verify with.
            (ClientAuth::Require, None) => None,
            (ClientAuth::Require, Some(clients)) => Some(Some(clients)),
            (ClientAuth::None, _) => Some(None),
        };
        let (inbound, inbound_http) = match required {
            Some(clients) if leaf.roles.server => {
                (Some(server_config(leaf, clients, &[])?), Some(server_config(leaf, clients, HTTP_2_OR_1)?))
            }
            _ => (None, None),
        };
        let outbound = match trust {
            Some(trust) if leaf.roles.client => {
                Some(Outbound { leaf: Arc::clone(leaf), roots: Arc::clone(&trust.store) })
            }
            _ => None,
        };
        Ok(Self { inbound, inbound_http, proof, clients, outbound })
    }

    /// For an outbound connection to a server that must show `expected`. `None` if the identity cannot be a
    /// client.
    pub fn outbound(&self, expected: &ExpectedServer, alpn: &[&[u8]]) -> Option<Arc<ClientConfig>> {
        let Outbound { leaf, roots } = self.outbound.as_ref()?;
        let verifier = server_verifier::verifier(expected.clone(), Arc::clone(roots));
        client_config(verifier, Some(leaf), alpn).ok()
    }

    /// As [`Configs::outbound`], for a trial handshake in memory.
    pub fn trial_client(&self, expected: &ExpectedServer) -> Option<Arc<ClientConfig>> {
        let Outbound { leaf, roots } = self.outbound.as_ref()?;
        let verifier = server_verifier::verifier(expected.clone(), Arc::clone(roots));
        client_config_with(fast_provider(), &[&TLS13], verifier, Some(leaf), &[]).ok()
    }

    /// Whether a client that came in with `chain` (leaf first) at `at` is accepted under this trust.
    pub fn trusts_client(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        self.clients.as_ref().is_some_and(|clients| verifies_client(clients, chain, at))
    }

    /// Whether a server that showed `chain` (leaf first) at `at` is trusted under this trust.
    pub fn trusts_server(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        self.outbound.as_ref().is_some_and(|outbound| verifies_server(&outbound.roots, chain, at))
    }
}

/// The peers that one root of the bundle accepts if it is the only one.
pub struct SingleRootVerifier {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl SingleRootVerifier {
    pub fn new(root: &Root) -> Result<Self, rustls::Error> {
        let roots = Arc::new(RootCertStore { roots: vec![root.anchor.clone()] });
        Ok(Self { clients: client_verifier(&roots)?, roots })
    }

    /// As [`Configs::trusts_client`].
    pub fn trusts_client(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        verifies_client(&self.clients, chain, at)
    }

    /// As [`Configs::trusts_server`].
    pub fn trusts_server(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        verifies_server(&self.roots, chain, at)
    }
}

/// For a program's connection to its own listener: presents the leaf if it can be a client, and accepts that
/// leaf and no other.
pub fn self_check(leaf: &Leaf) -> Result<Arc<ClientConfig>, rustls::Error> {
    let presented = leaf.roles.client.then_some(leaf);
    client_config_with(fast_provider(), &[&TLS13], server_verifier::only(leaf), presented, &[SELF_CHECK_ALPN])
}

/// For the control plane's probe of a pod: presents the leaf, and accepts any server that the trust bundle
/// verifies, whatever its name. TLS 1.3 only, where the server's answer to the client certificate is encrypted and
/// comes after the server has proved its own, so that it cannot be forged on the way.
pub fn prober(identity: &Identity) -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = identity
        .trust
        .as_ref()
        .map_or_else(|| Arc::new(RootCertStore::empty()), |trust| Arc::clone(&trust.store));
    client_config_with(provider(), &[&TLS13], server_verifier::any_of(roots), Some(&identity.leaf), HTTP_1)
}

/// For the probe of a pod whose leaf the control plane did not issue, and which therefore does not trust it:
/// presents no certificate and accepts any, and shows only which leaf the server has the key of. TLS 1.3 only, where
/// a client completes the handshake before the server verifies it.
pub fn anonymous_prober() -> Result<Arc<ClientConfig>, rustls::Error> {
    client_config_with(provider(), &[&TLS13], server_verifier::any(), None, &[])
}

/// `config` for a connection that offers the self-check's ALPN.
pub fn with_self_check(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![SELF_CHECK_ALPN.to_vec()];
    Arc::new(config)
}

const HTTP_1: &[&[u8]] = &[b"http/1.1"];
const HTTP_2_OR_1: &[&[u8]] = &[b"h2", b"http/1.1"];

fn server_config(
    leaf: &Leaf,
    clients: Option<&Arc<dyn ClientCertVerifier>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(provider())).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(present(leaf));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    leaf: Option<&Leaf>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    client_config_with(provider(), DEFAULT_VERSIONS, verifier, leaf, alpn)
}

fn client_config_with(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    verifier: Arc<dyn ServerCertVerifier>,
    leaf: Option<&Leaf>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match leaf {
        Some(leaf) => builder.with_client_cert_resolver(present(leaf)),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn present(leaf: &Leaf) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(Arc::clone(&leaf.certified)))
}

fn client_verifier(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider()))
        // The list of acceptable roots is of no use to peers, which have one certificate, and would show
        // every client which roots are trusted.
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

fn verifies_client(
    clients: &Arc<dyn ClientCertVerifier>,
    chain: &[CertificateDer<'static>],
    at: UnixTime,
) -> bool {
    match chain {
        [leaf, intermediates @ ..] => clients.verify_client_cert(leaf, intermediates, at).is_ok(),
        [] => false,
    }
}

fn verifies_server(roots: &RootCertStore, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
    match chain {
        [leaf, intermediates @ ..] => server_verifier::verify_chain(leaf, intermediates, roots, at).is_ok(),
        [] => false,
    }
}
