//! Proves that a message is from the sender it is addressed as, and parses it in the format of that sender's
//! provider. Nothing else of a message is read before that.

use std::time::SystemTime;

use super::message::Message;
use super::rejection::Rejection;
use super::{certificate_manager, secrets_manager, standard};
use crate::digest::sha256_hex;
use crate::notify::event_source::{Credential, EventSource, Provider};
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, sanitize};

pub async fn verify(
    source: &EventSource,
    message: &Message<'_>,
    now: SystemTime,
) -> Result<IncomingEvent, Rejection> {
    let (instance, mut event) = match &source.provider {
        Provider::Standard(verifier) => {
            let (instance, event) = standard::read(verifier, message, now)?;
            (instance.unwrap_or_else(|| source.instance.clone()), event)
        }
        Provider::CertificateManager(keys) => certificate_manager::read(keys, message).await?,
        Provider::SecretsManager(credential) => {
            if !proves(credential, message) {
                return Err(Rejection::Credential);
            }
            secrets_manager::read(message)?
        }
    };
    if instance != source.instance {
        return Err(Rejection::Instance(sanitize(&instance)));
    }
    let revoked = event.kind == IncomingKind::Revoked;
    event.certificates.iter_mut().for_each(|certificate| certificate.hint.revoked = revoked);
    Ok(event)
}

fn proves(credential: &Credential, message: &Message<'_>) -> bool {
    match credential {
        // Digests are compared, so the time it takes says nothing about the secret.
        Credential::Header { name, sha256 } => {
            let mut values = message.headers.get_all(name).iter();
            let first = values.next().map(|value| sha256_hex(value.as_bytes()));
            first.as_ref() == Some(sha256) && values.next().is_none()
        }
        Credential::Client(patterns) => {
            message.client.is_some_and(|names| patterns.iter().any(|pattern| pattern.matches(names)))
        }
    }
}
