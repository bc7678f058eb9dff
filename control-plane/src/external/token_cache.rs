//! A token of IAM, kept until shortly before it expires.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::Zeroizing;

/// A token is replaced this long before it expires.
const MARGIN: Duration = Duration::from_secs(60);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Default)]
pub struct TokenCache(Mutex<Option<Token>>);

/// As IAM issues it.
#[derive(Deserialize)]
pub struct IssuedToken {
    access_token: String,
    expires_in: u64,
}

struct Token {
    text: Zeroizing<String>,
    expires: Instant,
}

impl TokenCache {
    /// The token, while it is valid.
    pub fn get(&self) -> Option<Zeroizing<String>> {
        let now = Instant::now();
        self.lock().as_ref().filter(|token| now < token.expires).map(|token| token.text.clone())
    }

    pub fn keep(&self, issued: IssuedToken) -> Zeroizing<String> {
        let text = Zeroizing::new(issued.access_token);
        let lifetime = Duration::from_secs(issued.expires_in).min(MAX_LIFETIME).saturating_sub(MARGIN);
        *self.lock() = Some(Token { text: text.clone(), expires: Instant::now() + lifetime });
        text
    }

    /// It may have been revoked.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
