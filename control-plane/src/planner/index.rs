//! What changed since the last plan, and which objects that touches: an event is planned for as many objects as it
//! concerns, however many there are. What an object's plan depends on besides, only while it has something to do or
//! waits for something, is not looked for here: [`Planner`](super::Planner) plans such an object in every round.
//!
//! | what changed | what is planned again |
//! |---|---|
//! | a certificate | it; the authority that it names or named, when that sees a difference |
//! | an authority | it; its certificates when they see a difference |
//! | a keyring | every authority, and every certificate that names none; the certificates whose entry in the ledger changed |
//! | what a pod was seen to serve | the certificates whose Secret it mounts, and their authority when it shows an unknown leaf |
//! | why an action failed | its object |
//! | what managers have | the certificates that name a manager |
//! | the domain of the cluster | every authority and its certificates |
//! | the settings of notifications, the clock set back, ten minutes | everything |

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::by_namespace::ByNamespace;
use super::dependent::{DependentCertificate, is_same_to_authority};
use super::observed::{
    Authority, Certificate, ExternalState, KeyringView, Observed, Pod, PodList, WatchedSecret,
};
use crate::api::notification::NotificationRules;
use crate::api::object_name::ObjectName;
use crate::api::settings::{AuthoritySettings, CertificateSettings, ClusterDomain, FetchedSettings};
use crate::pki::ledger::LedgerEntry;

/// In case something else changed than is noticed.
const RESYNC: Duration = Duration::from_secs(10 * 60);

/// What has a plan of its own. They are planned in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Authority(String),
    Certificate(ObjectName),
    WatchedSecret(ObjectName),
}

/// What the last plan was made from.
#[derive(Debug, Default)]
pub struct Index {
    authorities: BTreeMap<String, Arc<Authority>>,
    settings: BTreeMap<String, Result<AuthoritySettings, Vec<String>>>,
    orphaned_keyrings: BTreeMap<String, KeyringView>,
    certificates: ByNamespace<Arc<Certificate>>,
    /// By the authority that they name, which there may not be.
    dependents: BTreeMap<String, BTreeMap<ObjectName, Dependent>>,
    watched_secrets: BTreeMap<ObjectName, WatchedSecret>,
    pods: BTreeMap<String, PodList>,
    failed_actions: BTreeMap<String, String>,
    external: ExternalState,
    settings_of_all: SettingsOfAll,
    cluster_domain: ClusterDomain,
    planned_at: Option<SystemTime>,
    /// When everything was planned last.
    resynced_at: Option<SystemTime>,
}

#[derive(Debug)]
struct Dependent {
    certificate: Arc<Certificate>,
    /// The name of its Secret.
    secret: String,
    /// Its spec is valid.
    valid: bool,
}

/// What every plan depends on.
#[derive(Debug, Default, PartialEq)]
struct SettingsOfAll {
    nudge: bool,
    leading_since: Option<SystemTime>,
    notification_rules: Arc<NotificationRules>,
    notification_settings: Option<Result<(), String>>,
}

impl Index {
    /// Takes over what was observed. Returns the objects whose plan may be another than the last one.
    pub fn update(&mut self, observed: &Observed, now: SystemTime) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        self.update_authorities(observed, &mut touched);
        self.update_certificates(observed, &mut touched);
        self.update_watched_secrets(observed, &mut touched);
        self.update_pods(observed, &mut touched);
        self.update_failed_actions(observed, &mut touched);
        self.update_external(observed, &mut touched);
        let settings = SettingsOfAll::of(observed);
        let is_due = self.resynced_at.is_none_or(|at| at + RESYNC <= now);
        let was_set_back = self.planned_at.is_some_and(|at| now < at);
        if is_due || was_set_back || self.settings_of_all != settings {
            self.settings_of_all = settings;
            self.resynced_at = Some(now);
            touched.extend(self.authorities.keys().cloned().map(Key::Authority));
            touched.extend(self.certificates.keys().cloned().map(Key::Certificate));
            touched.extend(self.watched_secrets.keys().cloned().map(Key::WatchedSecret));
        }
        self.planned_at = Some(now);
        touched
    }

    pub fn settings(&self, authority: &str) -> Option<&Result<AuthoritySettings, Vec<String>>> {
        self.settings.get(authority)
    }

    /// The certificates that name this authority.
    pub fn dependents(&self, authority: &str) -> Vec<DependentCertificate<'_>> {
        let dependents = self.dependents.get(authority).into_iter().flatten();
        let dependents = dependents.map(|(name, Dependent { certificate, secret, valid })| {
            DependentCertificate { name, certificate, secret, valid: *valid }
        });
        dependents.collect()
    }

    fn update_authorities(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        let mut is_keyring_changed = self.orphaned_keyrings != observed.orphaned_keyrings;
        if self.cluster_domain != observed.cluster_domain {
            self.cluster_domain.clone_from(&observed.cluster_domain);
            let names: Vec<_> = self.authorities.keys().cloned().collect();
            for name in names {
                self.validate_dependents(&name, observed.authorities.get(&name).map(Arc::as_ref), touched);
                touched.insert(Key::Authority(name));
            }
        }
        for name in changed(&self.authorities, &observed.authorities, is_same) {
            let (before, after) = (self.authorities.get(&name), observed.authorities.get(&name));
            is_keyring_changed |= before.map(|it| &it.keyring) != after.map(|it| &it.keyring);
            if before.map(|it| &it.spec) != after.map(|it| &it.spec) {
                self.validate_dependents(&name, after.map(Arc::as_ref), touched);
            } else {
                self.touch_entries(&name, before, after, touched);
            }
            set(&mut self.authorities, name.clone(), after.cloned());
            touched.insert(Key::Authority(name));
        }
        if is_keyring_changed {
            self.orphaned_keyrings.clone_from(&observed.orphaned_keyrings);
            touched.extend(observed.authorities.keys().cloned().map(Key::Authority));
            self.touch_dependents("", touched);
        }
    }

    /// The spec of an authority changed: what its certificates may ask for is another.
    fn validate_dependents(
        &mut self,
        name: &str,
        authority: Option<&Authority>,
        touched: &mut BTreeSet<Key>,
    ) {
        let domain = &self.cluster_domain;
        let settings = authority.map(|authority| AuthoritySettings::validate(name, &authority.spec, domain));
        for (certificate, dependent) in self.dependents.get_mut(name).into_iter().flatten() {
            *dependent = Dependent::of(certificate, &dependent.certificate, settings.as_ref());
            touched.insert(Key::Certificate(certificate.clone()));
        }
        set(&mut self.settings, name.to_owned(), settings);
    }

    /// The certificates whose entry in the ledger changed.
    fn touch_entries(
        &self,
        name: &str,
        before: Option<&Arc<Authority>>,
        after: Option<&Arc<Authority>>,
        touched: &mut BTreeSet<Key>,
    ) {
        let ledger = |authority: Option<&Arc<Authority>>| authority?.keyring.view()?.state.ledger.clone();
        let (before, after) = (ledger(before), ledger(after));
        if before == after {
            return;
        }
        for (certificate, dependent) in self.dependents.get(name).into_iter().flatten() {
            let entry = |ledger: &Option<Arc<_>>| -> Option<LedgerEntry> {
                let ledger: &crate::pki::ledger::Ledger = ledger.as_deref()?;
                ledger.get(&certificate.namespace, &dependent.secret).cloned()
            };
            if entry(&before) != entry(&after) {
                touched.insert(Key::Certificate(certificate.clone()));
            }
        }
    }

    fn update_certificates(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        let differing = self.certificates.differing(&observed.certificates);
        let none = BTreeMap::new();
        let names = differing.flat_map(|(before, after)| {
            changed(before.map_or(&none, Arc::as_ref), after.map_or(&none, Arc::as_ref), is_same)
        });
        let names: Vec<_> = names.collect();
        for name in names {
            if let (Some(before), Some(after)) =
                (self.certificates.get(&name), observed.certificates.get(&name))
                && is_same_to_authority(before, after)
            {
                let dependents = self.dependents.get_mut(&after.spec.authority);
                if let Some(dependent) = dependents.and_then(|dependents| dependents.get_mut(&name)) {
                    dependent.certificate = Arc::clone(after);
                }
                touched.insert(Key::Certificate(name));
                continue;
            }
            if let Some(before) = self.certificates.get(&name) {
                let authority = &before.spec.authority;
                if let Entry::Occupied(mut dependents) = self.dependents.entry(authority.clone()) {
                    dependents.get_mut().remove(&name);
                    if dependents.get().is_empty() {
                        dependents.remove();
                    }
                }
                touched.insert(Key::Authority(authority.clone()));
            }
            if let Some(after) = observed.certificates.get(&name) {
                let authority = &after.spec.authority;
                let dependent = Dependent::of(&name, after, self.settings.get(authority));
                self.dependents.entry(authority.clone()).or_default().insert(name.clone(), dependent);
                touched.insert(Key::Authority(authority.clone()));
            }
            touched.insert(Key::Certificate(name));
        }
        self.certificates.clone_from(&observed.certificates);
    }

    fn update_watched_secrets(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        for name in changed(&self.watched_secrets, &observed.watched_secrets, PartialEq::eq) {
            set(&mut self.watched_secrets, name.clone(), observed.watched_secrets.get(&name).cloned());
            touched.insert(Key::WatchedSecret(name));
        }
    }

    fn update_pods(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        for namespace in changed(&self.pods, &observed.pods, PartialEq::eq) {
            let of_changed = {
                let [before, after] = [&self.pods, &observed.pods].map(|pods| pods.get(&namespace));
                leaves_of_changed(before, after)
            };
            if !of_changed.is_empty() {
                for (name, certificate) in self.certificates.in_namespace(&namespace) {
                    let dependents = self.dependents.get(&certificate.spec.authority);
                    let dependent = dependents.and_then(|dependents| dependents.get(name));
                    let Some(shown) =
                        dependent.and_then(|dependent| of_changed.get(dependent.secret.as_str()))
                    else {
                        continue;
                    };
                    touched.insert(Key::Certificate(name.clone()));
                    let is_known = |leaf: &&str| {
                        certificate.versions.values().any(|version| version.leaf.sha256 == **leaf)
                    };
                    if !shown.iter().all(is_known) {
                        touched.insert(Key::Authority(certificate.spec.authority.clone()));
                    }
                }
            }
            set(&mut self.pods, namespace.clone(), observed.pods.get(&namespace).cloned());
        }
    }

    fn update_failed_actions(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        for object in changed(&self.failed_actions, &observed.failed_actions, PartialEq::eq) {
            touched.extend(object.parse().ok().map(Key::Certificate));
            set(&mut self.failed_actions, object.clone(), observed.failed_actions.get(&object).cloned());
            touched.insert(Key::Authority(object));
        }
    }

    fn update_external(&mut self, observed: &Observed, touched: &mut BTreeSet<Key>) {
        if self.external != observed.external {
            self.external.clone_from(&observed.external);
            let has_manager =
                self.certificates.iter().filter(|(_, certificate)| certificate.spec.manager.is_some());
            touched.extend(has_manager.map(|(name, _)| Key::Certificate(name.clone())));
        }
    }

    fn touch_dependents(&self, authority: &str, touched: &mut BTreeSet<Key>) {
        let names = self.dependents.get(authority).into_iter().flat_map(BTreeMap::keys);
        touched.extend(names.cloned().map(Key::Certificate));
    }
}

impl Dependent {
    fn of(
        name: &ObjectName,
        certificate: &Arc<Certificate>,
        authority: Option<&Result<AuthoritySettings, Vec<String>>>,
    ) -> Self {
        let spec = &certificate.spec;
        let (secret, valid) = match authority {
            _ if spec.is_fetched() => {
                let settings = FetchedSettings::validate(&name.name, spec).ok();
                (settings.map(|settings| settings.secret_name), false)
            }
            Some(Ok(authority)) => {
                let settings = CertificateSettings::validate(&name.namespace, &name.name, spec, authority);
                let secret = settings.ok().map(|settings| settings.secret_name);
                let valid = secret.is_some();
                (secret, valid)
            }
            Some(Err(_)) | None => (None, false),
        };
        let secret = secret.or_else(|| certificate.status.secret_name.clone()).unwrap_or_default();
        Self { certificate: Arc::clone(certificate), secret, valid }
    }
}

impl SettingsOfAll {
    fn of(observed: &Observed) -> Self {
        Self {
            nudge: observed.nudge,
            leading_since: observed.leading_since,
            notification_rules: Arc::clone(&observed.notification_rules),
            notification_settings: observed.notification_settings.clone(),
        }
    }
}

/// The keys that are in only one of them, or whose values differ.
fn changed<K: Ord + Clone, V>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    is_same: impl Fn(&V, &V) -> bool,
) -> Vec<K> {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let mut changed = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changed,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = before.next_if(|_| order.is_le());
        let after = after.next_if(|_| order.is_ge());
        match (before, after) {
            (Some((_, before)), Some((_, after))) if is_same(before, after) => {}
            (Some((key, _)), _) | (None, Some((key, _))) => changed.push(key.clone()),
            (None, None) => return changed,
        }
    }
}

fn is_same<T: PartialEq>(before: &Arc<T>, after: &Arc<T>) -> bool {
    Arc::ptr_eq(before, after) || before == after
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// The Secrets that are mounted by pods which were seen to serve something else than before, and the leaves that these
/// show. Of a pod that was not probed nothing is known: a plan that waits for it is made in every round.
fn leaves_of_changed<'a>(
    before: Option<&'a PodList>,
    after: Option<&'a PodList>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let by_uid = |list: Option<&'a PodList>| -> BTreeMap<&'a str, &'a Pod> {
        let pods = list.into_iter().flat_map(|list| &list.pods).filter(|pod| !pod.proofs.is_empty());
        pods.map(|pod| (pod.uid.as_str(), pod)).collect()
    };
    let (before, after) = (by_uid(before), by_uid(after));
    let mut leaves = BTreeMap::<_, BTreeSet<_>>::new();
    for uid in changed(&before, &after, |before, after| before == after) {
        for pod in [before.get(uid), after.get(uid)].into_iter().flatten() {
            let shown = pod.proofs.values().filter_map(|proof| proof.result.as_ref().ok());
            let shown: Vec<_> = shown.map(|handshake| handshake.leaf_sha256.as_str()).collect();
            for secret in &pod.mounted_secrets {
                leaves.entry(secret.as_str()).or_default().extend(&shown);
            }
        }
    }
    leaves
}
