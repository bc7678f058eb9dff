//! What happens to the identity, as it happens.

use std::fmt;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds as date;
use tokio::sync::broadcast;

use crate::identity::Rejection;
use crate::reload_error::ReloadError;

/// Events that a subscriber may be behind before it misses the oldest.
const CAPACITY: usize = 64;

/// Something that happened to the identity.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An identity became current: every handshake that begins from now on uses it.
    Published {
        /// Counts publications from 1.
        generation: u64,
        /// The leaf's serial number, in hexadecimal.
        serial: String,
        /// When the leaf or its chain expires.
        not_after: SystemTime,
    },
    /// The trust bundle that became current has other roots than the one before.
    TrustChanged {
        /// The generation with the new bundle.
        generation: u64,
        /// Hex SHA-256 of each root that was not trusted before.
        added: Vec<String>,
        /// Hex SHA-256 of each root that is no longer trusted.
        removed: Vec<String>,
    },
    /// A part of what the source has is not served. Sent once for the same content and reason.
    Refused {
        /// Which part.
        part: CredentialPart,
        /// What is wrong, and what to do.
        rejection: Rejection,
    },
    /// The leaf that the source has is not valid yet, and is published once it is.
    Held {
        /// From when it and its chain are valid.
        not_before: SystemTime,
        /// The leaf's serial number, in hexadecimal.
        serial: String,
    },
    /// What was refused or held before is served, or the source no longer has it.
    Recovered,
    /// The leaf that is served, or its chain, has expired and no newer one has arrived. Peers refuse it.
    Expired {
        /// The leaf's serial number, in hexadecimal.
        serial: String,
        /// When it expired.
        not_after: SystemTime,
    },
    /// The identity is no longer kept current; see [`Identities::ended`](crate::Identities::ended).
    Ended(ReloadError),
    /// The subscriber was too slow, and so many events were dropped. The current state is in
    /// [`Identities::status`](crate::Identities::status).
    Missed(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { generation, serial, not_after } => {
                write!(f, "published generation {generation}: serial {serial}, until {}", date(*not_after))
            }
            Self::TrustChanged { added, removed, .. } => {
                let list = |roots: &[String]| match roots {
                    [] => "none".to_owned(),
                    roots => roots.join(", "),
                };
                write!(f, "trust changed: added {}; removed {}", list(added), list(removed))
            }
            Self::Refused { part, rejection } => write!(f, "refused {}: {rejection}", part.as_str()),
            Self::Held { not_before, serial } => {
                write!(f, "held: the certificate with serial {serial} is valid from {}", date(*not_before))
            }
            Self::Recovered => f.write_str("recovered: what the source has is served"),
            Self::Expired { serial, not_after } => {
                write!(
                    f,
                    "expired: the certificate with serial {serial} or its chain, at {}",
                    date(*not_after)
                )
            }
            Self::Ended(error) => write!(f, "ended: {error}"),
            Self::Missed(count) => write!(f, "missed {count} events"),
        }
    }
}

/// A part of a credential that is validated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialPart {
    /// The leaf certificate, its chain and its private key.
    Leaf,
    /// The trust bundle.
    Trust,
    /// The revocation lists beside a bundle that is taken.
    Revocation,
}

impl CredentialPart {
    /// `leaf`, `trust` or `revocation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Trust => "trust",
            Self::Revocation => "revocation",
        }
    }
}

/// A subscription to events, from the moment it was made.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    pub(crate) fn of(sender: &broadcast::Sender<Event>) -> Self {
        Self(sender.subscribe())
    }

    /// The next event. `None` when the identity is no longer reloaded, because its last handle is gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

pub(crate) fn channel() -> broadcast::Sender<Event> {
    broadcast::Sender::new(CAPACITY)
}

#[cfg(test)]
mod tests;
