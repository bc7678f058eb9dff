//! Where each watch puts what it hears. Facts are read from an object before the cache is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kube::Resource;

use super::WatchError;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::pki::x509_facts;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{ObjectName, ResourceVersion, WatchedSecret};
use crate::store::kubernetes::cache::{self, Cache, Known, Listing, NamespaceIndex};
use crate::store::kubernetes::custom::Custom;
use crate::store::kubernetes::label;
use crate::store::kubernetes::secret::SecretObject;

pub trait EventSink<K>: Send + Sync + 'static {
    /// For the log.
    fn what(&self) -> String;
    fn put(&self, object: K);
    fn remove(&self, object: K);
    /// After a list that began at `since`.
    fn complete(&self, listed: &BTreeSet<ObjectName>, since: Instant);
    fn trouble(&self, trouble: WatchError);
}

pub struct Authorities(pub Arc<Cache>);

impl EventSink<Custom<CertificateAuthority>> for Authorities {
    fn what(&self) -> String {
        "watching the CertificateAuthorities".into()
    }

    fn put(&self, object: Custom<CertificateAuthority>) {
        let name = name(&object);
        let written = object.read();
        self.0.change(|facts| match written {
            Some(written) => facts.put_authority(&name, written),
            None => drop(facts.authorities.remove(&name)),
        });
        self.0.moved.notify_one();
    }

    fn remove(&self, object: Custom<CertificateAuthority>) {
        self.0.change(|facts| drop(facts.authorities.remove(&name(&object))));
        self.0.moved.notify_one();
    }

    fn complete(&self, listed: &BTreeSet<ObjectName>, _: Instant) {
        let listed = names(listed);
        self.0.settle(|facts| {
            facts.authorities.retain(|name, _| listed.contains(name));
            facts.authorities_listing = Listing::Complete;
        });
    }

    fn trouble(&self, trouble: WatchError) {
        self.0.change(|facts| facts.authorities_listing.trouble(trouble.said));
    }
}

pub struct Certificates(pub Arc<Cache>);

impl EventSink<Custom<ServiceCertificate>> for Certificates {
    fn what(&self) -> String {
        "watching the ServiceCertificates".into()
    }

    fn put(&self, object: Custom<ServiceCertificate>) {
        let (namespace, name) = (namespace(&object), name(&object));
        let written = object.read();
        self.0.change(|facts| match written {
            Some(written) => facts.place(&namespace).put_certificate(&name, written),
            None => facts.place(&namespace).remove_certificate(&name, None),
        });
        self.0.moved.notify_one();
    }

    fn remove(&self, object: Custom<ServiceCertificate>) {
        let stamp = object.meta().resource_version.clone().map(ResourceVersion);
        let (namespace, name) = (namespace(&object), name(&object));
        self.0.change(|facts| facts.place(&namespace).remove_certificate(&name, stamp.as_ref()));
        self.0.moved.notify_one();
    }

    fn complete(&self, listed: &BTreeSet<ObjectName>, _: Instant) {
        let mut by_namespace: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for ObjectName { namespace, name } in listed {
            by_namespace.entry(namespace).or_default().insert(name.clone());
        }
        let none = BTreeSet::new();
        self.0.settle(|facts| {
            for (namespace, place) in &mut facts.places {
                place.keep_certificates(by_namespace.get(namespace.as_str()).unwrap_or(&none));
            }
            facts.certificates_listing = Listing::Complete;
        });
    }

    fn trouble(&self, trouble: WatchError) {
        self.0.change(|facts| facts.certificates_listing.trouble(trouble.said));
    }
}

/// The Secrets of the control plane's own namespace.
pub struct Own(pub Arc<Cache>);

impl EventSink<SecretObject> for Own {
    fn what(&self) -> String {
        "watching the Secrets of the control plane's own namespace".into()
    }

    fn put(&self, object: SecretObject) {
        let known = Known::read(&object);
        self.0.change(|facts| facts.own.put(object.name(), known, false));
    }

    fn remove(&self, object: SecretObject) {
        self.0.change(|facts| facts.own.remove(object.name(), &object.stamp()));
    }

    fn complete(&self, listed: &BTreeSet<ObjectName>, since: Instant) {
        let listed = names(listed);
        self.0.settle(|facts| facts.own.keep(&listed, since));
    }

    fn trouble(&self, trouble: WatchError) {
        self.0.change(|facts| facts.own.listing.trouble(trouble.said));
    }
}

/// The Secrets of one namespace that the store writes.
pub struct Ours {
    pub cache: Arc<Cache>,
    /// The control plane's own namespace.
    pub system: String,
    pub namespace: String,
}

impl EventSink<SecretObject> for Ours {
    fn what(&self) -> String {
        format!("watching our Secrets in {}", self.namespace)
    }

    fn put(&self, object: SecretObject) {
        let ours = cache::Ours::read(&object);
        self.cache.change(|facts| {
            facts.known(&self.namespace, |place| match ours {
                Some(ours) => place.put(ours, false),
                // It was one of ours until somebody spoilt its labels.
                None => place.remove(&object),
            });
        });
    }

    fn remove(&self, object: SecretObject) {
        self.cache.change(|facts| facts.known(&self.namespace, |place| place.remove(&object)));
    }

    fn complete(&self, listed: &BTreeSet<ObjectName>, since: Instant) {
        let listed = names(listed);
        self.cache.settle(|facts| facts.known(&self.namespace, |place| place.keep(&listed, since)));
    }

    fn trouble(&self, trouble: WatchError) {
        let Self { system, namespace, .. } = self;
        if trouble.forbidden {
            let why = format!(
                "hotcert may not read and write Secrets in {namespace}; apply the RoleBinding: kubectl -n {namespace} \
                 create rolebinding hotcert --clusterrole=hotcert-namespace --serviceaccount={system}:hotcert-controller"
            );
            self.cache.settle(|facts| facts.known(namespace, |place| place.close(why)));
        } else {
            self.cache.change(|facts| facts.known(namespace, |place| place.ours.trouble(trouble.said)));
        }
    }
}

/// The Secrets of one namespace that others issue.
pub struct Watched {
    pub cache: Arc<Cache>,
    pub namespace: String,
}

impl EventSink<SecretObject> for Watched {
    fn what(&self) -> String {
        format!("watching Secrets of others in {}", self.namespace)
    }

    fn put(&self, object: SecretObject) {
        let foreign = WatchedSecret {
            leaf: Leaf::read(object.value("tls.crt")),
            roots: x509_facts::roots(object.value("ca.crt")),
            orphan: false,
        };
        let put = |place: &mut NamespaceIndex| match label::is_ours(&object) {
            true => drop(place.foreign.remove(object.name())),
            false => drop(place.foreign.insert(object.name().to_owned(), foreign)),
        };
        self.cache.change(|facts| facts.known(&self.namespace, put));
    }

    fn remove(&self, object: SecretObject) {
        let remove = |place: &mut NamespaceIndex| drop(place.foreign.remove(object.name()));
        self.cache.change(|facts| facts.known(&self.namespace, remove));
    }

    fn complete(&self, listed: &BTreeSet<ObjectName>, _: Instant) {
        let listed = names(listed);
        let complete = |place: &mut NamespaceIndex| {
            place.foreign.retain(|name, _| listed.contains(name));
            place.watched = Listing::Complete;
        };
        self.cache.settle(|facts| facts.known(&self.namespace, complete));
    }

    fn trouble(&self, trouble: WatchError) {
        let close = |place: &mut NamespaceIndex| {
            if trouble.forbidden {
                place.foreign.clear();
                place.watched = Listing::Closed(trouble.said);
            } else {
                place.watched.trouble(trouble.said);
            }
        };
        self.cache.settle(|facts| facts.known(&self.namespace, close));
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
