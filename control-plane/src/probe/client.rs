//! Who the control plane is when it asks: a client certificate under each root that is asked about,
//! short-lived, made from the keyring when it is needed and kept in memory alone. The key is wiped with
//! the text it came in; what the TLS library keeps of it lives as long as the client.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hotcert_agent::tls::config;
use hotcert_agent::tls::credential::{Credential, LeafParts};
use hotcert_agent::tls::identity::{Identity, Policy, Validation};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use super::ProveError;
use crate::api::algorithm::Algorithm;
use crate::api::leaf_request::{LeafRequest, Usage};
use crate::pki::authority::Authority;
use crate::pki::keyring::{Keyring, RootId};

/// Its own name in the certificate, which nobody checks.
const COMMON_NAME: &str = "hotcert control plane";
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Before this much is left, there is another.
const RENEW_BEFORE: Duration = Duration::from_secs(20 * 60);

/// A TLS client with a certificate, that accepts any server under any root of the keyring.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

/// The clients that were made so far.
pub struct Clients {
    spiffe_id: String,
    kept: Mutex<BTreeMap<RootId, CachedClient>>,
}

struct CachedClient {
    client: Client,
    made_at: SystemTime,
    renew_at: SystemTime,
    /// Whose servers it accepts.
    accepts: Vec<RootId>,
}

impl Client {
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    #[cfg(test)]
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Clients {
    pub fn new(spiffe_id: String) -> Self {
        Self { spiffe_id, kept: Mutex::default() }
    }

    /// A client under `root`, which is `authority` in the keyring.
    pub fn under(
        &self,
        root: &RootId,
        authority: &Authority,
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<Client, ProveError> {
        let accepts: Vec<_> = keyring.roots.keys().cloned().collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(root)
            && known.is_good(now)
            && known.accepts == accepts
        {
            return Ok(known.client.clone());
        }
        kept.retain(|_, known| known.is_good(now));
        let (client, not_after) = self.make(root, authority, keyring, now)?;
        // Under a root that is about to expire it is as short as that.
        let renew_at = not_after.checked_sub(RENEW_BEFORE).unwrap_or(now);
        kept.insert(root.clone(), CachedClient { client: client.clone(), made_at: now, renew_at, accepts });
        Ok(client)
    }

    fn make(
        &self,
        root: &RootId,
        authority: &Authority,
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<(Client, SystemTime), ProveError> {
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
            .map_err(|source| ProveError::Unsigned { root: root.clone(), source })?;
        let bundle: String = keyring.roots.values().map(Authority::certificate_pem).collect();
        let part = |text: &str| Ok(Zeroizing::new(text.as_bytes().to_vec()));
        let credential = Credential {
            leaf: LeafParts::Pair { certificate: part(&leaf.certificate_pem), key: part(&leaf.key_pem) },
            trust: part(&bundle),
            revision: None,
            changed_at: None,
            atomic: true,
        };
        let unusable = |cause: String| ProveError::Unusable { root: root.clone(), cause };
        let Validation { leaf: judged, trust } = Identity::parse(&credential, &Policy::default(), None, now);
        let identity = Identity {
            leaf: judged.map_err(|rejection| unusable(rejection.to_string()))?,
            trust: trust.map_err(|rejection| unusable(rejection.to_string()))?,
        };
        let config = config::prober(&identity).map_err(|error| unusable(error.to_string()))?;
        Ok((Client { config }, leaf.not_after))
    }
}

impl CachedClient {
    fn is_good(&self, now: SystemTime) -> bool {
        // A clock that was put back makes it not valid yet.
        (self.made_at..self.renew_at).contains(&now)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}
