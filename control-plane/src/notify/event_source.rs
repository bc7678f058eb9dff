//! A sender of events as the settings file describes it: what proves its messages, and what it may send events
//! about.

use std::collections::BTreeMap;
use std::fmt;

use hotcert_tls::SanPattern;

use crate::api::notification::Pattern;
use crate::notify::incoming_event::IncomingKind;
use crate::notify::signature::Verifier;
use crate::notify::verification_keys::VerificationKeys;

#[derive(Debug)]
pub struct EventSource {
    pub provider: Provider,
    /// The one instance that is accepted: a CRN, or the source of the CloudEvents.
    pub instance: String,
    /// The kinds of events that are accepted.
    pub events: Vec<IncomingKind>,
    /// The certificates that events are accepted for, as NAMESPACE/NAME.
    pub names: Vec<Pattern>,
    /// The authorities that events are accepted for.
    pub authorities: Vec<Pattern>,
    /// Our object, by the sender's name for it.
    pub certificates: BTreeMap<String, String>,
}

/// The format of the messages, and what proves that one is from this sender.
#[derive(Debug)]
pub enum Provider {
    Standard(Verifier),
    CertificateManager(VerificationKeys),
    SecretsManager(Credential),
}

/// Proves messages that are not signed.
pub enum Credential {
    /// A secret header, by the SHA-256 of its value.
    Header { name: String, sha256: String },
    /// The client certificate, which the listener has verified.
    Client(Vec<SanPattern>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "Header({name})"),
            Self::Client(patterns) => f.debug_tuple("Client").field(patterns).finish(),
        }
    }
}
