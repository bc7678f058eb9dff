//! Where each watch puts its events. Facts are read from an object before the cache is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Resource;

use super::WatchError;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::pki::x509_facts;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{ResourceVersion, WatchedSecret};
use crate::store::kubernetes::cache::{self, Cache, ListSpan, Listing, NamespaceIndex, OwnSecret, Source};
use crate::store::kubernetes::custom::Custom;
use crate::store::kubernetes::label;
use crate::store::kubernetes::secret_object::SecretObject;

pub trait EventSink<K>: Send + Sync + 'static {
    /// For the log.
    fn description(&self) -> String;
    fn apply(&self, object: K);
    fn delete(&self, object: K);
    /// After a list, of all that is in it.
    fn listed(&self, listed: &BTreeSet<ObjectName>, list: ListSpan);
    fn failed(&self, error: WatchError);
}

pub struct AuthoritiesSink(pub Arc<Cache>);

impl EventSink<Custom<CertificateAuthority>> for AuthoritiesSink {
    fn description(&self) -> String {
        "watching the CertificateAuthorities".into()
    }

    fn apply(&self, object: Custom<CertificateAuthority>) {
        let name = name(&object);
        let written = object.read();
        self.0.change(|state| match written {
            Some(written) => state.put_authority(&name, written),
            None => drop(state.authorities.remove(&name)),
        });
        self.0.namespaces_changed.notify_one();
    }

    fn delete(&self, object: Custom<CertificateAuthority>) {
        let resource_version = ResourceVersion(object.meta().resource_version.clone().unwrap_or_default());
        self.0.change(|state| state.remove_authority(&name(&object), &resource_version));
        self.0.namespaces_changed.notify_one();
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, _: ListSpan) {
        let listed = names(listed);
        self.0.change_and_wake(|state| {
            state.authorities.retain(|name, _| listed.contains(name));
            state.authorities_listing = Listing::Complete;
        });
    }

    fn failed(&self, error: WatchError) {
        self.0.change(|state| state.authorities_listing.record_problem(error.message));
    }
}

pub struct CertificatesSink(pub Arc<Cache>);

impl EventSink<Custom<ServiceCertificate>> for CertificatesSink {
    fn description(&self) -> String {
        "watching the ServiceCertificates".into()
    }

    fn apply(&self, object: Custom<ServiceCertificate>) {
        let (namespace, name) = (namespace(&object), name(&object));
        let written = object.read();
        self.0.change(|state| match written {
            Some(written) => state.namespace_mut(&namespace).put_certificate(&name, written),
            None => state.namespace_mut(&namespace).remove_certificate(&name, None),
        });
        self.0.namespaces_changed.notify_one();
    }

    fn delete(&self, object: Custom<ServiceCertificate>) {
        let resource_version = object.meta().resource_version.clone().map(ResourceVersion);
        let (namespace, name) = (namespace(&object), name(&object));
        self.0.change(|state| {
            state.namespace_mut(&namespace).remove_certificate(&name, resource_version.as_ref())
        });
        self.0.namespaces_changed.notify_one();
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, _: ListSpan) {
        let mut by_namespace: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for ObjectName { namespace, name } in listed {
            by_namespace.entry(namespace).or_default().insert(name.clone());
        }
        let none = BTreeSet::new();
        self.0.change_and_wake(|state| {
            for (namespace, index) in &mut state.namespaces {
                index.retain_certificates(by_namespace.get(namespace.as_str()).unwrap_or(&none));
            }
            state.certificates_listing = Listing::Complete;
        });
    }

    fn failed(&self, error: WatchError) {
        self.0.change(|state| state.certificates_listing.record_problem(error.message));
    }
}

/// The Secrets of the control plane's own namespace.
pub struct OwnNamespaceSink(pub Arc<Cache>);

impl EventSink<SecretObject> for OwnNamespaceSink {
    fn description(&self) -> String {
        "watching the Secrets of the control plane's own namespace".into()
    }

    fn apply(&self, object: SecretObject) {
        let known = OwnSecret::read(&object);
        self.0.change(|state| state.own.put(object.name(), known, Source::Watch));
        self.0.namespaces_changed.notify_one();
    }

    fn delete(&self, object: SecretObject) {
        self.0.change(|state| state.own.remove(object.name(), &object.resource_version()));
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, list: ListSpan) {
        let listed = names(listed);
        self.0.change_and_wake(|state| state.own.retain_listed(&listed, list));
    }

    fn failed(&self, error: WatchError) {
        self.0.change(|state| state.own.listing.record_problem(error.message));
    }
}

/// The Secrets of one namespace that the store writes.
pub struct OwnedSecretsSink {
    pub cache: Arc<Cache>,
    /// The control plane's own namespace.
    pub system: String,
    pub namespace: String,
}

impl EventSink<SecretObject> for OwnedSecretsSink {
    fn description(&self) -> String {
        format!("watching our Secrets in {}", self.namespace)
    }

    fn apply(&self, object: SecretObject) {
        let owned = cache::OwnedSecret::read(&object);
        self.cache.change(|state| {
            state.update_namespace(&self.namespace, |index| match owned {
                Some(owned) => index.put(owned, Source::Watch),
                // Its labels were changed, so it is no longer ours.
                None => index.remove(&object),
            });
        });
    }

    fn delete(&self, object: SecretObject) {
        self.cache.change(|state| state.update_namespace(&self.namespace, |index| index.remove(&object)));
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, list: ListSpan) {
        let listed = names(listed);
        self.cache.change_and_wake(|state| {
            state.update_namespace(&self.namespace, |index| index.retain_listed(&listed, list))
        });
    }

    fn failed(&self, error: WatchError) {
        let Self { system, namespace, .. } = self;
        if error.forbidden {
            let why = format!(
                "hotcert may not read and write Secrets in {namespace}; apply the RoleBinding: kubectl -n {namespace} \
                 create rolebinding hotcert --clusterrole=hotcert-namespace --serviceaccount={system}:hotcert-controller"
            );
            self.cache
                .change_and_wake(|state| state.update_namespace(namespace, |index| index.deny_access(why)));
        } else {
            self.cache.change(|state| {
                state.update_namespace(namespace, |index| index.owned.record_problem(error.message))
            });
        }
    }
}

/// The Secrets of one namespace that others issue.
pub struct WatchedSink {
    pub cache: Arc<Cache>,
    pub namespace: String,
}

impl EventSink<SecretObject> for WatchedSink {
    fn description(&self) -> String {
        format!("watching Secrets of others in {}", self.namespace)
    }

    fn apply(&self, object: SecretObject) {
        let foreign = WatchedSecret {
            leaf: Leaf::read(object.value("tls.crt")),
            roots: x509_facts::roots(object.value("ca.crt")),
            orphan: false,
            written_at: None,
        };
        let put = |index: &mut NamespaceIndex| match label::is_ours(&object) {
            true => drop(index.foreign.remove(object.name())),
            false => drop(index.foreign.insert(object.name().to_owned(), foreign)),
        };
        self.cache.change(|state| state.update_namespace(&self.namespace, put));
    }

    fn delete(&self, object: SecretObject) {
        let remove = |index: &mut NamespaceIndex| drop(index.foreign.remove(object.name()));
        self.cache.change(|state| state.update_namespace(&self.namespace, remove));
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, _: ListSpan) {
        let listed = names(listed);
        let complete = |index: &mut NamespaceIndex| {
            index.foreign.retain(|name, _| listed.contains(name));
            index.watched = Listing::Complete;
        };
        self.cache.change_and_wake(|state| state.update_namespace(&self.namespace, complete));
    }

    fn failed(&self, error: WatchError) {
        let close = |index: &mut NamespaceIndex| {
            if error.forbidden {
                index.foreign.clear();
                index.watched = Listing::Forbidden(error.message);
            } else {
                index.watched.record_problem(error.message);
            }
        };
        self.cache.change_and_wake(|state| state.update_namespace(&self.namespace, close));
    }
}

fn name<K: Resource>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}

fn namespace<K: Resource>(object: &K) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

fn names(listed: &BTreeSet<ObjectName>) -> BTreeSet<String> {
    listed.iter().map(|object| object.name.clone()).collect()
}

#[cfg(test)]
mod tests;
