//! Signatures as Standard Webhooks defines them, in both directions: over `ID.TIMESTAMP.BODY`, with HMAC-SHA256 (`v1`,
//! a shared secret) or Ed25519 (`v1a`, a key that only the sender has). A header with several signatures is for keys
//! that are being replaced: one valid signature is enough.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";

/// Allowed difference between a timestamp and the local clock, the transport included.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Signatures of one header that are checked; the others are ignored.
const MAX_SIGNATURES: usize = 4;
const MAX_ID: usize = 256;
/// Bytes of a secret, as the standard requires.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs with each of its keys.
pub struct Signer(Vec<SigningKey>);

enum SigningKey {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Accepts a signature of any of its keys.
pub struct Verifier(Vec<VerifyingKey>);

enum VerifyingKey {
    Hmac(Box<hmac::Key>),
    Ed25519([u8; 32]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a key: write whsec_ and the base64 of a secret of 24 to 64 bytes")]
    Secret,
    #[error(
        "not an Ed25519 key: use PEM (openssl genpkey -algorithm ed25519), or whsk_ and the base64 of the key"
    )]
    Private,
    #[error("not an Ed25519 public key: write whpk_ and its base64, as the sender serves it")]
    Public,
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the header {0} is missing or malformed")]
    Missing(&'static str),
    #[error("the message was signed more than {} ago", crate::api::duration::format(TOLERANCE))]
    Old,
    #[error("the message was signed in the future: compare the clocks")]
    Early,
    #[error("no signature is valid for a key of this sender")]
    Wrong,
}

impl SignatureError {
    /// The value of the label `outcome`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing(_) => "unsigned",
            Self::Old | Self::Early => "stale",
            Self::Wrong => "signature",
        }
    }
}

impl Signer {
    /// Each key is `whsec_…`, `whsk_…` or an Ed25519 key in PEM.
    pub fn parse<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        keys.into_iter().map(SigningKey::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The three headers that are sent with the body.
    pub fn headers(&self, id: &str, body: &[u8], now: SystemTime) -> [(&'static str, String); 3] {
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let content = signed_content(id, &timestamp, body);
        let signatures: Vec<_> = self.0.iter().map(|key| key.sign(&content)).collect();
        [(ID, id.to_owned()), (TIMESTAMP, timestamp), (SIGNATURE, signatures.join(" "))]
    }

    /// `whpk_…` of each asymmetric key.
    pub fn public_keys(&self) -> Vec<String> {
        let public = |key: &SigningKey| match key {
            SigningKey::Hmac(_) => None,
            SigningKey::Ed25519(pair) => Some(format!("whpk_{}", STANDARD.encode(pair.public_key()))),
        };
        self.0.iter().filter_map(public).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl SigningKey {
    fn parse(text: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pem) = PrivatePkcs8KeyDer::from_pem_slice(text) {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.secret_pkcs8_der());
            return pair.map(Box::new).map(Self::Ed25519).map_err(|_| KeyError::Private);
        }
        match prefixed(text) {
            Some(("whsec", secret)) if SECRET_LENGTH.contains(&secret.len()) => {
                Ok(Self::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret))))
            }
            // The seed, or the seed followed by the public key.
            Some(("whsk", key)) if matches!(key.len(), 32 | 64) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&key[..32]).map_err(|_| KeyError::Private)?;
                let is_consistent = key.len() == 32 || pair.public_key().as_ref() == &key[32..];
                if is_consistent { Ok(Self::Ed25519(Box::new(pair))) } else { Err(KeyError::Private) }
            }
            Some(("whsk", _)) => Err(KeyError::Private),
            _ => Err(KeyError::Secret),
        }
    }

    fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::Hmac(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, message))),
            Self::Ed25519(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(message))),
        }
    }
}

impl Verifier {
    /// Each key is `whsec_…` or `whpk_…`.
    pub fn parse<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let parse = |text: &[u8]| match prefixed(text) {
            Some(("whsec", secret)) if SECRET_LENGTH.contains(&secret.len()) => {
                Ok(VerifyingKey::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret))))
            }
            Some(("whpk", key)) => {
                key.as_slice().try_into().map(VerifyingKey::Ed25519).map_err(|_| KeyError::Public)
            }
            _ => Err(KeyError::Secret),
        };
        keys.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the message's id.
    pub fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<&'a str, SignatureError> {
        let text = |name: &'static str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| !value.is_empty()).ok_or(SignatureError::Missing(name))
        };
        let id = text(ID)?;
        if id.len() > MAX_ID {
            return Err(SignatureError::Missing(ID));
        }
        let timestamp = text(TIMESTAMP)?;
        let seconds: u64 = timestamp.parse().map_err(|_| SignatureError::Missing(TIMESTAMP))?;
        let signatures = text(SIGNATURE)?;
        let content = signed_content(id, timestamp, body);
        let mut signatures = signatures.split_ascii_whitespace().take(MAX_SIGNATURES);
        if !signatures.any(|signature| self.0.iter().any(|key| key.verifies(signature, &content))) {
            return Err(SignatureError::Wrong);
        }
        // After the signature: the age of a forgery is of no interest.
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let at = at.ok_or(SignatureError::Missing(TIMESTAMP))?;
        match (now.duration_since(at), at.duration_since(now)) {
            (Ok(age), _) if age > TOLERANCE => Err(SignatureError::Old),
            (_, Ok(ahead)) if ahead > TOLERANCE => Err(SignatureError::Early),
            _ => Ok(id),
        }
    }
}

impl VerifyingKey {
    /// False for a signature of another algorithm.
    fn verifies(&self, signature: &str, message: &[u8]) -> bool {
        let Some((version, text)) = signature.split_once(',') else { return false };
        let Ok(bytes) = STANDARD.decode(text) else { return false };
        match (self, version) {
            (Self::Hmac(key), "v1") => hmac::verify(key, message, &bytes).is_ok(),
            (Self::Ed25519(key), "v1a") => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, &bytes).is_ok()
            }
            _ => false,
        }
    }
}

fn signed_content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

/// The prefix before the underscore, and the decoded base64 after it.
fn prefixed(text: &[u8]) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (prefix, key) = str::from_utf8(text).ok()?.trim().split_once('_')?;
    Some((prefix, Zeroizing::new(STANDARD.decode(key).ok()?)))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
