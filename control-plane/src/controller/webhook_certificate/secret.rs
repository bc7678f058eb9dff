//! The Secret `hotcert-webhook`: the pair that is served, the next one, and the bundle of all roots that API
//! servers must trust meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use super::configuration::WebhookConfiguration;
use super::pair::{Pair, PairError, Root, ServerNames};
use super::plan::{Observed, Step, Trust};
use crate::api::date;

const TRUSTED_AT: &str = "hotcert.dev/next-trusted-at";
const PROMOTED_AT: &str = "hotcert.dev/promoted-at";

#[derive(Clone, Default)]
pub struct SecretState {
    pub current: Option<Pair>,
    pub next: Option<Pair>,
    /// Of both pairs, and old ones until they are retired. The newest first.
    pub roots: Vec<Root>,
    pub trusted_at: Option<SystemTime>,
    pub promoted_at: Option<SystemTime>,
    /// Incremented by every write.
    pub revision: u64,
    bundle_modified: bool,
}

impl SecretState {
    pub fn read(secret: Option<&Secret>, names: &ServerNames, now: SystemTime) -> Self {
        let Some(secret) = secret else {
            return Self::default();
        };
        let none = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&none);
        let get = |name: &str| data.get(name).map_or(&[][..], |bytes| &bytes.0);
        let time = |name: &str| {
            let text = secret.metadata.annotations.as_ref()?.get(name)?;
            date::parse(text)
        };
        let mut roots = Root::parse_bundle(get("ca.crt"), now);
        let (certificate, key) = (get("tls.crt"), get("tls.key"));
        let current =
            roots.iter().find_map(|root| Pair::validate(certificate, key, root.pem.as_bytes(), now).ok());
        // A next pair without the current names would have to be replaced at once.
        let next = Root::parse_bundle(get("next-ca.crt"), now)
            .first()
            .and_then(|root| Pair::validate(get("next.crt"), get("next.key"), root.pem.as_bytes(), now).ok())
            .filter(|next| names.are_covered_by(&next.leaf.names));
        if let Some(next) = next.iter().find(|next| !roots.contains(&next.root)) {
            roots.insert(0, next.root.clone());
        }
        let mut state = Self {
            current,
            next,
            roots,
            trusted_at: time(TRUSTED_AT),
            promoted_at: time(PROMOTED_AT),
            revision: String::from_utf8_lossy(get("revision")).trim().parse().unwrap_or(0),
            bundle_modified: false,
        };
        state.bundle_modified = get("ca.crt") != state.bundle().as_bytes();
        state
    }

    /// The Secret to write in place of the one that was read; fields that are not hotcert's stay as they are.
    pub fn write(&self, read: Option<Secret>, name: &str) -> Secret {
        let mut secret = read.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            type_: Some("Opaque".into()),
            ..Secret::default()
        });
        let data = secret.data.get_or_insert_default();
        let mut put = |name: &str, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => drop(data.insert(name.into(), ByteString(bytes.to_vec()))),
            None => drop(data.remove(name)),
        };
        if let Some(current) = &self.current {
            put("tls.crt", Some(&current.certificate));
            put("tls.key", Some(&current.key));
        }
        put("next.crt", self.next.as_ref().map(|next| &*next.certificate));
        put("next.key", self.next.as_ref().map(|next| &**next.key));
        put("next-ca.crt", self.next.as_ref().map(|next| next.root.pem.as_bytes()));
        put("ca.crt", Some(self.bundle().as_bytes()));
        put("revision", Some((self.revision + 1).to_string().as_bytes()));
        let annotations = secret.metadata.annotations.get_or_insert_default();
        for (name, time) in [(TRUSTED_AT, self.trusted_at), (PROMOTED_AT, self.promoted_at)] {
            match time {
                // In milliseconds, because an overlap may be short.
                Some(at) => annotations.insert(name.into(), date::millis(at)),
                None => annotations.remove(name),
            };
        }
        secret
    }

    /// Applies a step, as far as it concerns the Secret. `trusted` are the roots in the webhook configuration.
    pub fn apply(
        &mut self,
        step: Step,
        names: &ServerNames,
        trusted: Vec<Root>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(), PairError> {
        match step {
            Step::Prepare => {
                let next = Pair::issue(names, lifetime, now)?;
                let mut roots = vec![next.root.clone()];
                roots.append(&mut self.roots);
                if self.current.is_none() {
                    // Replicas may still serve the pair that was lost here: their root stays trusted.
                    roots.extend(trusted);
                }
                for root in roots {
                    if !self.roots.contains(&root) {
                        self.roots.push(root);
                    }
                }
                self.next = Some(next);
                self.trusted_at = None;
            }
            Step::RecordTrusted(at) => self.trusted_at = at,
            Step::Promote => {
                self.current = self.next.take();
                self.trusted_at = None;
                self.promoted_at = Some(now);
            }
            Step::RecordPromoted => self.promoted_at = Some(now),
            Step::Retire => self.roots = self.split_roots().0,
            Step::Repair | Step::Trust | Step::Wait(_) => {}
        }
        Ok(())
    }

    /// PEM, as in `ca.crt` and in `caBundle`.
    pub fn bundle(&self) -> String {
        self.roots.iter().map(|root| root.pem.as_str()).collect()
    }

    pub fn observe(
        &self,
        names: &ServerNames,
        configuration: Option<&WebhookConfiguration>,
        now: SystemTime,
    ) -> Observed {
        let trust = configuration.map(|configuration| {
            let next = self.next.as_ref().map(|next| &next.root);
            match next {
                _ if configuration.has_exactly(&self.bundle()) => Trust::Same,
                Some(next) if configuration.roots(now).contains(next) => Trust::HasNext,
                _ => Trust::Other,
            }
        });
        Observed {
            current: self.current.as_ref().map(|pair| pair.validity(names)),
            next: self.next.as_ref().map(|pair| pair.validity(names)),
            has_old_roots: !self.split_roots().1.is_empty(),
            bundle_modified: self.bundle_modified,
            trusted_at: self.trusted_at,
            promoted_at: self.promoted_at,
            trust,
        }
    }

    /// The roots of the pairs, and the old ones.
    fn split_roots(&self) -> (Vec<Root>, Vec<Root>) {
        let pairs = || self.current.iter().chain(&self.next);
        self.roots.iter().cloned().partition(|root| pairs().any(|pair| pair.root == *root))
    }
}
