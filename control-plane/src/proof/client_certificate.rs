//! The control plane's own client certificate under each root in question: short-lived, issued from the
//! keyring when it is needed, and kept in memory alone. The key's PEM is zeroized; what the TLS library keeps
//! of it lives as long as the client.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hotcert_tls::credential::Credential;
use hotcert_tls::identity::{Identity, Policy, Validation};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use crate::api::algorithm::Algorithm;
use crate::api::leaf_request::{LeafRequest, Usage};
use crate::pki::authority::{Authority, AuthorityError};
use crate::pki::keyring::{Keyring, RootId};
use crate::proof::client_config;

/// Its common name, which is not verified.
const COMMON_NAME: &str = "hotcert control plane";
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long before its end a client is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(20 * 60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no client certificate can be made under the root {root}: {source}")]
    Unsigned { root: RootId, source: AuthorityError },
    #[error("the client certificate under the root {root} is of no use: {cause}")]
    Unusable { root: RootId, cause: String },
}

/// A TLS client with a certificate, which accepts every server under any root of the keyring.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    /// Accepts every server.
    lenient: Arc<ClientConfig>,
}

/// The clients that exist already, by root.
pub struct Clients {
    spiffe_id: String,
    cached: Mutex<BTreeMap<RootId, CachedClient>>,
}

struct CachedClient {
    client: Client,
    issued_at: SystemTime,
    renew_at: SystemTime,
    /// The roots under which it accepts servers.
    accepted_roots: Vec<RootId>,
}

impl Client {
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// For a server that the keyring does not verify.
    pub fn lenient_connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.lenient))
    }

    #[cfg(test)]
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Clients {
    pub fn new(spiffe_id: String) -> Self {
        Self { spiffe_id, cached: Mutex::default() }
    }

    /// A client under `root`, which is `authority` in the keyring.
    pub fn under(
        &self,
        root: &RootId,
        authority: &Authority,
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<Client, ClientError> {
        let accepted_roots: Vec<_> = keyring.roots.keys().cloned().collect();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cached.get(root)
            && known.is_fresh(now)
            && known.accepted_roots == accepted_roots
        {
            return Ok(known.client.clone());
        }
        cached.retain(|_, known| known.is_fresh(now));
        let (client, not_after) = self.issue(root, authority, keyring, now)?;
        // Under a root that is about to expire, the certificate is shorter.
        let renew_at = not_after.checked_sub(RENEW_BEFORE).unwrap_or(now);
        cached.insert(
            root.clone(),
            CachedClient { client: client.clone(), issued_at: now, renew_at, accepted_roots },
        );
        Ok(client)
    }

    fn issue(
        &self,
        root: &RootId,
        authority: &Authority,
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<(Client, SystemTime), ClientError> {
        let request = LeafRequest {
            common_name: COMMON_NAME.into(),
            spiffe_id: Some(self.spiffe_id.clone()),
            algorithm: Algorithm::P256,
            lifetime: LIFETIME,
            usage: Usage::ClientOnly,
            ..LeafRequest::default()
        };
        let leaf = authority
            .issue(&request, now)
            .map_err(|source| ClientError::Unsigned { root: root.clone(), source })?;
        let bundle: String = keyring.roots.values().map(Authority::certificate_pem).collect();
        let credential = Credential::pem(
            leaf.certificate_pem.as_bytes().to_vec(),
            leaf.key_pem.as_bytes().to_vec(),
            bundle.into_bytes(),
        );
        let unusable = |cause: String| ClientError::Unusable { root: root.clone(), cause };
        let Validation { leaf: validated, trust, .. } =
            Identity::parse(&credential, &Policy::default(), None, now);
        let identity = Identity {
            leaf: validated.map_err(|rejection| unusable(rejection.to_string()))?,
            trust: trust.map_err(|rejection| unusable(rejection.to_string()))?,
        };
        let config = |accepts_any: bool| {
            client_config::presenting(&identity, accepts_any).map_err(|error| unusable(error.to_string()))
        };
        Ok((Client { config: config(false)?, lenient: config(true)? }, leaf.not_after))
    }
}

impl CachedClient {
    fn is_fresh(&self, now: SystemTime) -> bool {
        // If the clock was set back, it is not valid yet.
        (self.issued_at..self.renew_at).contains(&now)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}
