//! The Secret `hotcert-webhook`, read and written: the pair that is served, the one that waits, and
//! the bundle of all roots that API servers have to trust meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use super::pair::{Pair, PairError, Root, Wanted};
use super::plan::{Seen, Step, Trust};
use crate::controller::webhook_certificate::ca_bundle::WebhookConfiguration;

const TRUSTED_AT: &str = "hotcert.dev/next-trusted-at";
const PROMOTED_AT: &str = "hotcert.dev/promoted-at";

#[derive(Clone, Default)]
pub struct State {
    pub current: Option<Pair>,
    pub next: Option<Pair>,
    /// Of the pairs, and such as are on their way out. The newest first.
    pub roots: Vec<Root>,
    pub trusted_at: Option<SystemTime>,
    pub promoted_at: Option<SystemTime>,
    /// Grows with every writing.
    pub revision: u64,
    mangled: bool,
}

impl State {
    pub fn read(secret: Option<&Secret>, wanted: &Wanted, now: SystemTime) -> Self {
        let Some(secret) = secret else {
            return Self::default();
        };
        let none = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&none);
        let get = |name: &str| data.get(name).map_or(&[][..], |bytes| &bytes.0);
        let moment = |name: &str| {
            let text = secret.metadata.annotations.as_ref()?.get(name)?;
            humantime::parse_rfc3339(text).ok()
        };
        let mut roots = Root::all(get("ca.crt"), now);
        let (certificate, key) = (get("tls.crt"), get("tls.key"));
        let current =
            roots.iter().find_map(|root| Pair::judge(certificate, key, root.pem.as_bytes(), now).ok());
        // One that waits under other names than are asked for now waits in vain.
        let next = Root::all(get("next-ca.crt"), now)
            .first()
            .and_then(|root| Pair::judge(get("next.crt"), get("next.key"), root.pem.as_bytes(), now).ok())
            .filter(|next| wanted.are_in(&next.leaf.names));
        if let Some(next) = next.iter().find(|next| !roots.contains(&next.root)) {
            roots.insert(0, next.root.clone());
        }
        let mut state = Self {
            current,
            next,
            roots,
            trusted_at: moment(TRUSTED_AT),
            promoted_at: moment(PROMOTED_AT),
            revision: String::from_utf8_lossy(get("revision")).trim().parse().unwrap_or(0),
            mangled: false,
        };
        state.mangled = get("ca.crt") != state.bundle().as_bytes();
        state
    }

    /// What is to be written in place of what was read; all that is not ours stays as it is.
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
        for (name, moment) in [(TRUSTED_AT, self.trusted_at), (PROMOTED_AT, self.promoted_at)] {
            match moment {
                // To the millisecond: an overlap may be short.
                Some(at) => annotations.insert(name.into(), crate::api::date::millis(at)),
                None => annotations.remove(name),
            };
        }
        secret
    }

    /// Changes what is to be written, as far as a step is about that. `trusted` are the roots in the
    /// webhook configuration.
    pub fn take(
        &mut self,
        step: Step,
        wanted: &Wanted,
        trusted: Vec<Root>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(), PairError> {
        match step {
            Step::Prepare => {
                let next = Pair::make(wanted, lifetime, now)?;
                let mut roots = vec![next.root.clone()];
                roots.append(&mut self.roots);
                if self.current.is_none() {
                    // Somebody may serve still what is lost here: he is not to be locked out as well.
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
            Step::NoteTrusted(at) => self.trusted_at = at,
            Step::Promote => {
                self.current = self.next.take();
                self.trusted_at = None;
                self.promoted_at = Some(now);
            }
            Step::NotePromoted => self.promoted_at = Some(now),
            Step::Retire => self.roots = self.split().0,
            Step::Mend | Step::Trust | Step::Wait(_) => {}
        }
        Ok(())
    }

    /// PEM, as it stands in `ca.crt` and in `caBundle`.
    pub fn bundle(&self) -> String {
        self.roots.iter().map(|root| root.pem.as_str()).collect()
    }

    pub fn seen(&self, wanted: &Wanted, trusting: Option<&WebhookConfiguration>, now: SystemTime) -> Seen {
        let trust = trusting.map(|trusting| {
            let next = self.next.as_ref().map(|next| &next.root);
            match next {
                _ if trusting.is_exactly(&self.bundle()) => Trust::Same,
                Some(next) if trusting.roots(now).contains(next) => Trust::HasNext,
                _ => Trust::Other,
            }
        });
        Seen {
            current: self.current.as_ref().map(|pair| pair.validity(wanted)),
            next: self.next.as_ref().map(|pair| pair.validity(wanted)),
            retired: !self.split().1.is_empty(),
            mangled: self.mangled,
            trusted_at: self.trusted_at,
            promoted_at: self.promoted_at,
            trust,
        }
    }

    /// The roots of the pairs, and the others.
    fn split(&self) -> (Vec<Root>, Vec<Root>) {
        let pairs = || self.current.iter().chain(&self.next);
        self.roots.iter().cloned().partition(|root| pairs().any(|pair| pair.root == *root))
    }
}
