//! Where the events of a topic are delivered, and how they are signed.

use crate::external::http_client::{Endpoint, Headers};
use crate::notify::format::Format;
use crate::notify::signature::Signer;

#[derive(Debug)]
pub struct Subscription {
    pub endpoint: Endpoint,
    pub format: Format,
    /// Without keys nothing is signed.
    pub signer: Signer,
    pub headers: Headers,
    /// Of everything in the settings that describes it, files included.
    pub digest: String,
}

impl Subscription {
    /// Whether both were made from the same settings.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
