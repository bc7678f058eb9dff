//! TLS configurations made from an `Identity`. The only place that builds rustls configs: no
//! resumption in either direction (a stored session would outlive the trust it was made under),
//! and no verifier that can be swapped beneath a handshake.

mod client_auth;
mod client_verifier;
mod expected_peer;
mod server_verifier;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion};

pub use client_auth::{ClientAuth, ClientAuthError};
pub use expected_peer::{ExpectedPeer, ExpectedPeerError};
pub(crate) use server_verifier::WrongServer;

use crate::chain_verifier::{ChainVerifier, Purpose};
use crate::crypto::{fast_provider, provider};
use crate::identity::Root;
use crate::identity::{Identity, Leaf, Trust};

/// The configurations of one identity. Those for a role that it does not have are `None`.
#[derive(Debug)]
pub(crate) struct Configs {
    /// As `ClientAuth` has it, without ALPN.
    pub server: Option<Arc<ServerConfig>>,
    /// Always mTLS, without ALPN.
    pub mutual_server: Option<Arc<ServerConfig>>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    client: Option<Client>,
}

#[derive(Debug)]
struct Client {
    leaf: Arc<Leaf>,
    roots: ChainVerifier,
}

impl Configs {
    pub fn build(identity: &Identity, client_auth: ClientAuth) -> Result<Self, rustls::Error> {
        let Identity { leaf, trust } = identity;
        let clients = trust.as_deref().map(|trust| client_verifier::verifier(trust.verifier.clone()));
        let mutual_server = match &clients {
            Some(clients) if leaf.roles.server => Some(server_config(leaf, Some(clients))?),
            _ => None,
        };
        let server = match client_auth {
            // Without a trust bundle there is nothing to verify with: fail closed.
            ClientAuth::Require => mutual_server.clone(),
            ClientAuth::None if leaf.roles.server => Some(server_config(leaf, None)?),
            ClientAuth::None => None,
        };
        let client = match trust {
            Some(trust) if leaf.roles.client => {
                Some(Client { leaf: Arc::clone(leaf), roots: trust.verifier.clone() })
            }
            _ => None,
        };
        Ok(Self { server, mutual_server, clients, client })
    }

    /// For a connection to a server that must be `expected`. `None` if the identity cannot be a client.
    pub fn client(&self, expected: &ExpectedPeer, alpn: &[&[u8]]) -> Option<Arc<ClientConfig>> {
        let Client { leaf, roots } = self.client.as_ref()?;
        let verifier = server_verifier::verifier(expected.clone(), roots.clone());
        client_config(verifier, Some(leaf), alpn).ok()
    }

    /// For a trial handshake in memory: the server must show `leaf`, which must be trusted. By which of its names it is
    /// going to be dialled, if by any, is not known here.
    pub fn trial_client(&self, leaf: &Leaf) -> Option<Arc<ClientConfig>> {
        let Client { leaf: own, roots } = self.client.as_ref()?;
        let verifier = server_verifier::only_trusted(leaf, roots.clone());
        client_config_with(fast_provider(), &[&TLS13], verifier, Some(own), &[]).ok()
    }

    /// Whether a client that came in with `chain` (leaf first) at `at` is accepted under this trust.
    pub fn trusts_client(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        self.clients.as_ref().is_some_and(|clients| verifies_client(clients, chain, at))
    }

    /// Whether a server that showed `chain` (leaf first) at `at` is trusted under this trust.
    pub fn trusts_server(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        self.client.as_ref().is_some_and(|client| verifies_server(&client.roots, chain, at))
    }
}

/// The peers that one root of the bundle accepts if it is the only one.
#[derive(Debug)]
pub struct SingleRootVerifier {
    roots: ChainVerifier,
    clients: Arc<dyn ClientCertVerifier>,
}

impl SingleRootVerifier {
    /// A verifier that trusts `root` alone.
    pub fn new(root: &Root) -> Result<Self, rustls::Error> {
        let roots = ChainVerifier::new([root], None);
        Ok(Self { clients: client_verifier::verifier(roots.clone()), roots })
    }

    /// Whether a client that presents `chain`, leaf first, at the time `at` is accepted.
    pub fn trusts_client(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        verifies_client(&self.clients, chain, at)
    }

    /// Whether a server that presents `chain`, leaf first, at the time `at` is accepted.
    pub fn trusts_server(&self, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
        verifies_server(&self.roots, chain, at)
    }
}

impl Trust {
    /// Verifies the chain of a server, its dates and its usage, within the limits of what a verification may cost; not
    /// its name. For those who bring their own verifier.
    pub fn verify_server(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.verifier.check(end_entity, intermediates, Purpose::Server, at)
    }

    /// As [`verify_server`](Self::verify_server), the chain of a client.
    pub fn verify_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.verifier.check(end_entity, intermediates, Purpose::Client, at)
    }
}

impl ExpectedPeer {
    /// Verifies that the certificate of a server has an expected name, and nothing else of it. For those who bring their
    /// own verifier.
    pub fn verify_name(&self, end_entity: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        server_verifier::verify_name(end_entity, self)
    }
}

/// For a program's connection to its own listener: presents the leaf if it can be a client, and accepts that
/// leaf and no other.
pub(crate) fn self_check(leaf: &Leaf, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let presented = leaf.roles.client.then_some(leaf);
    client_config_with(fast_provider(), &[&TLS13], server_verifier::only(leaf), presented, alpn)
}

fn server_config(
    leaf: &Leaf,
    clients: Option<&Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(provider())).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(present(leaf));
    // In TLS 1.2 as in 1.3: a client that names its weakest cipher suite first gets the strongest of both.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
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

fn verifies_server(roots: &ChainVerifier, chain: &[CertificateDer<'static>], at: UnixTime) -> bool {
    match chain {
        [leaf, intermediates @ ..] => roots.check(leaf, intermediates, Purpose::Server, at).is_ok(),
        [] => false,
    }
}
