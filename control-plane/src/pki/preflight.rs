//! Validates a candidate before it is published, with the agent's own code and on the very bytes that the agent
//! will read.

use std::sync::Arc;
use std::time::SystemTime;

use hotcert_tls::credential::Credential;
use hotcert_tls::identity::{Identity, Leaf, Policy, Rejection, Trust};

use super::root_id::RootId;

/// A candidate that an agent would serve: its leaf and the roots beside it.
pub struct Validated {
    pub leaf: Arc<Leaf>,
    pub trust: Option<Arc<Trust>>,
}

/// `serves`: it must be valid for a server.
pub fn validate(
    certificate: &[u8],
    key: &[u8],
    bundle: &[u8],
    serves: bool,
    now: SystemTime,
) -> Result<Validated, Rejection> {
    let policy = Policy { serves, ..Policy::default() };
    let credential = Credential::pem(certificate.to_vec(), key.to_vec(), bundle.to_vec());
    let validation = Identity::parse(&credential, &policy, None, now);
    Ok(Validated { trust: validation.trust?, leaf: validation.leaf? })
}

/// What an agent would refuse a bundle for beside a leaf that it serves, which this root has signed.
pub fn validate_bundle(bundle: &[u8], root: &RootId, now: SystemTime) -> Result<(), String> {
    let credential = Credential::pem(Vec::new(), Vec::new(), bundle.to_vec());
    let trust = Identity::parse(&credential, &Policy::default(), None, now).trust;
    let trust = trust.map_err(|rejection| rejection.to_string())?;
    let roots = trust.iter().flat_map(|trust| &trust.roots);
    let is_trusted = roots.into_iter().any(|trusted| trusted.sha256 == root.0);
    is_trusted.then_some(()).ok_or_else(|| format!("the trust bundle is without the root {root} of the leaf"))
}

/// The roots of a bundle; `None` if an agent would refuse it.
pub fn trust(bundle: &[u8], now: SystemTime) -> Option<Arc<Trust>> {
    let credential = Credential::pem(Vec::new(), Vec::new(), bundle.to_vec());
    Identity::parse(&credential, &Policy::default(), None, now).trust.ok().flatten()
}
