//! The peers of verified connections. A peer that connects often is parsed once, and all its connections share
//! one value.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::digest::sha256_hex;
use crate::names::Names;
use crate::spiffe_id::SpiffeId;

/// Bounds the memory that an endless stream of new certificates can take.
const MAX_CACHED: usize = 1024;
/// A longer chain is not cached, so that it is freed with its connections.
const MAX_CHAIN_BYTES: usize = 16 * 1024;
/// A peer without a connection is evicted after this.
const EVICT_AFTER: Duration = Duration::from_secs(600);

/// A certificate chain that was verified in a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The subject alternative names.
    pub names: Names,
    /// The SPIFFE ID among the names, if there is one.
    pub spiffe_id: Option<SpiffeId>,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// RFC 4514 text of the subject.
    pub subject: String,
    /// Hex SHA-256 of the leaf's DER.
    pub sha256: String,
    /// The end of the leaf's validity.
    pub not_after: SystemTime,
    /// The chain that it presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it was first verified. Verifying it again under another trust uses this time, so that only the trust
    /// makes a difference.
    pub verified_at: UnixTime,
}

/// The cache of peers, by chain.
#[derive(Default)]
pub(crate) struct Peers(Mutex<HashMap<[u8; 32], CachedPeer>>);

struct CachedPeer {
    peer: Arc<Peer>,
    seen: Instant,
}

impl Peers {
    /// The peer that showed `chain`, which a handshake has verified. `None` if the chain is empty or
    /// its leaf cannot be parsed.
    pub fn intern(&self, chain: &[CertificateDer<'_>]) -> Option<Arc<Peer>> {
        let mut hash = Sha256::new();
        for certificate in chain {
            hash.update((certificate.len() as u64).to_be_bytes());
            hash.update(certificate);
        }
        let key = hash.finalize().into();
        let now = Instant::now();
        let mut cached = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = cached.get_mut(&key) {
            known.seen = now;
            return Some(Arc::clone(&known.peer));
        }
        let peer = Arc::new(Peer::parse(chain)?);
        if cached.len() >= MAX_CACHED {
            cached.retain(|_, known| Arc::strong_count(&known.peer) > 1);
        }
        let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
        if cached.len() < MAX_CACHED && bytes <= MAX_CHAIN_BYTES {
            cached.insert(key, CachedPeer { peer: Arc::clone(&peer), seen: now });
        }
        Some(peer)
    }

    /// The earliest not-after among peers. Of several certificates for one name the one seen last counts, so that
    /// a renewed one does not.
    pub fn earliest_not_after(&self) -> Option<SystemTime> {
        let mut cached = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cached.retain(|_, known| Arc::strong_count(&known.peer) > 1 || known.seen.elapsed() < EVICT_AFTER);
        let mut latest: HashMap<Option<String>, &CachedPeer> = HashMap::new();
        for known in cached.values() {
            let name = known.peer.names.labels().into_iter().next();
            let entry = latest.entry(name).or_insert(known);
            if known.seen > entry.seen {
                *entry = known;
            }
        }
        latest.values().map(|known| known.peer.not_after).min()
    }
}

impl Peer {
    fn parse(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let leaf = chain.first()?;
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let not_after = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let names = Names::of(&certificate);
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        Some(Self {
            spiffe_id: names.spiffe_id(),
            names,
            common_name: common_name.map(str::to_owned),
            subject: certificate.subject().to_string(),
            sha256: sha256_hex(leaf),
            not_after: UNIX_EPOCH + Duration::from_secs(not_after),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            verified_at: UnixTime::now(),
        })
    }
}
