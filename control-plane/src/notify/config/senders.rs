//! The section `senders`: whose events are accepted, and what proves them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::api::notification::Pattern;
use crate::digest::sha256_hex;
use crate::external::config::Validator;
use crate::notify::event_source::{Credential, EventSource, Provider};
use crate::notify::incoming_event::IncomingKind;
use crate::notify::signature::Verifier;
use crate::notify::verification_keys::VerificationKeys;

/// `/notifications/keys` serves the public keys.
const RESERVED_NAME: &str = "keys";
/// In `names`: every certificate.
const ALL: &str = "*";
const MAX_CERTIFICATES: usize = 10_000;
/// Characters of a secret header.
const MIN_SECRET: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SenderItem {
    name: String,
    provider: ProviderKind,
    /// CRN of the instance, or the source of the CloudEvents.
    instance: String,
    /// Files with keys that the sender signs with.
    #[serde(default)]
    keys: Vec<String>,
    /// Where the sender serves its key.
    key_url: Option<String>,
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    header: Option<HeaderItem>,
    /// Names in the client certificate.
    #[serde(default)]
    clients: Vec<String>,
    events: Option<Vec<String>>,
    /// Certificates.
    names: Option<Vec<String>>,
    /// Authorities, whose roots are replaced.
    #[serde(default)]
    authorities: Vec<String>,
    /// Our object, by the sender's name for it.
    #[serde(default)]
    certificates: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProviderKind {
    Standard,
    IbmCertificateManager,
    IbmSecretsManager,
}

/// A header, and a file with its value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderItem {
    name: String,
    file: String,
}

pub fn senders(validator: &mut Validator<'_>, items: &[SenderItem]) -> BTreeMap<String, EventSource> {
    let mut senders = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (at, item) in validator.items("senders", items) {
        validator.name(&at, &item.name, &mut known);
        if item.name == RESERVED_NAME {
            validator
                .error(&format!("{at}.name"), "the name keys is reserved: the public keys are served there");
        }
        if item.instance.is_empty() || item.instance.len() > 1024 {
            validator.error(&format!("{at}.instance"), "name the instance whose events are accepted");
        }
        let events = match &item.events {
            Some(events) => validator.parse_all(&format!("{at}.events"), events),
            None => IncomingKind::default_kinds(),
        };
        let (names, authorities) = scope(validator, &at, item);
        if item.certificates.len() > MAX_CERTIFICATES {
            validator.error(&format!("{at}.certificates"), format!("more than {MAX_CERTIFICATES} items"));
        }
        if let Some(provider) = provider(validator, &at, item) {
            let (instance, certificates) = (item.instance.clone(), item.certificates.clone());
            let source = EventSource { provider, instance, events, names, authorities, certificates };
            senders.insert(item.name.clone(), source);
        }
    }
    senders
}

/// The certificates and the authorities that it may send events about. It says so itself: what would be meant by
/// silence is everything, or nothing.
fn scope(validator: &mut Validator<'_>, at: &str, item: &SenderItem) -> (Vec<Pattern>, Vec<Pattern>) {
    let (names_at, authorities_at) = (format!("{at}.names"), format!("{at}.authorities"));
    let names = item.names.as_deref().unwrap_or_default();
    if item.names.is_none() {
        validator.error(
            &names_at,
            "list the certificates that this sender may send events about: names: ['shop/*'], or ['*'] for all. \
            Authorities are listed apart, under authorities, and the event revoked under events",
        );
    } else if names.is_empty() && item.authorities.is_empty() {
        validator.error(&names_at, "it lists nothing, and neither does authorities: remove the sender");
    }
    for name in names.iter().filter(|name| !name.contains('/') && *name != ALL) {
        let problem = format!(
            "{name:?} is no NAMESPACE/NAME of certificates, such as shop/*: list authorities under authorities"
        );
        validator.error(&names_at, problem);
    }
    for name in item.authorities.iter().filter(|name| name.contains('/')) {
        validator.error(&authorities_at, format!("{name} is a certificate: list it under names"));
    }
    (validator.parse_all(&names_at, names), validator.parse_all(&authorities_at, &item.authorities))
}

/// A key that the provider has no use for is an error.
fn provider(validator: &mut Validator<'_>, at: &str, item: &SenderItem) -> Option<Provider> {
    let is_signed = item.provider != ProviderKind::IbmSecretsManager;
    if is_signed && (item.header.is_some() || !item.clients.is_empty()) {
        validator
            .error(at, "this provider signs its messages: header and clients are for ibm-secrets-manager");
    }
    if item.provider != ProviderKind::IbmCertificateManager && item.key_url.is_some() {
        validator.error(at, "keyUrl is for ibm-certificate-manager");
    }
    let keys_at = format!("{at}.keys");
    let keys: Vec<_> = item.keys.iter().filter_map(|file| validator.bytes(&keys_at, file)).collect();
    if keys.len() < item.keys.len() {
        return None;
    }
    let keys: Vec<_> = keys.iter().map(|key| key.as_slice()).collect();
    match item.provider {
        ProviderKind::Standard => standard(validator, &keys_at, &keys).map(Provider::Standard),
        ProviderKind::IbmCertificateManager => {
            certificate_manager(validator, at, item, &keys).map(Provider::CertificateManager)
        }
        ProviderKind::IbmSecretsManager => {
            secrets_manager(validator, at, item, &keys).map(Provider::SecretsManager)
        }
    }
}

fn standard(validator: &mut Validator<'_>, at: &str, keys: &[&[u8]]) -> Option<Verifier> {
    if keys.is_empty() {
        validator.error(at, "name a file with a key: whsec_…, or the sender's whpk_…");
        return None;
    }
    Verifier::parse(keys.iter().copied()).map_err(|error| validator.error(at, error)).ok()
}

fn certificate_manager(
    validator: &mut Validator<'_>,
    at: &str,
    item: &SenderItem,
    keys: &[&[u8]],
) -> Option<VerificationKeys> {
    let keys_at = format!("{at}.keys");
    match (&item.key_url, keys.is_empty()) {
        (None, false) => {
            let keys = VerificationKeys::fixed(keys.iter().copied());
            keys.map_err(|error| validator.error(&keys_at, error)).ok()
        }
        (Some(url), true) => validator
            .endpoint(at, url, item.ca.as_deref(), &item.allow_networks)
            .map(VerificationKeys::fetched_from),
        _ => {
            validator.error(&keys_at, "give either keys, files with the public key in PEM, or keyUrl");
            None
        }
    }
}

fn secrets_manager(
    validator: &mut Validator<'_>,
    at: &str,
    item: &SenderItem,
    keys: &[&[u8]],
) -> Option<Credential> {
    match (&item.header, item.clients.is_empty()) {
        (Some(header), true) if keys.is_empty() => {
            let header_at = format!("{at}.header");
            let value = validator.text(&header_at, &header.file)?;
            if value.len() < MIN_SECRET {
                validator.error(
                    &header_at,
                    format!("the secret is too short: it needs {MIN_SECRET} characters or more"),
                );
            }
            let (name, sha256) = (header.name.to_ascii_lowercase(), sha256_hex(value.as_bytes()));
            Some(Credential::Header { name, sha256 })
        }
        (None, false) if keys.is_empty() => {
            Some(Credential::Client(validator.parse_all(&format!("{at}.clients"), &item.clients)))
        }
        _ => {
            validator.error(
                at,
                "messages of this provider are not signed: give either header, a secret, \
                or clients (mTLS), and no keys",
            );
            None
        }
    }
}
