//! What is known of one namespace: its certificates with their versions, its target Secrets, and the
//! Secrets that others issue. A certificate's entry is whole after every change, so that an observation only
//! copies pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::arrivals::{Arrivals, ListSpan, Source};
use super::listing::Listing;
use super::{ParsedObject, is_older};
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateStatus, ServiceCertificateSpec};
use crate::api::settings::CertificateSettings;
use crate::planner::by_namespace::InNamespace;
use crate::planner::observed::{
    Certificate, Published, ResourceVersion, SecretListing, Version, WatchedSecret,
};
use crate::store::kubernetes::secret_object::SecretObject;
use crate::store::kubernetes::target_secret::Target;
use crate::store::kubernetes::version;

#[derive(Default)]
pub struct NamespaceIndex {
    pub owned: Listing,
    pub watched: Listing,
    certificates: BTreeMap<String, Entry>,
    targets: BTreeMap<String, Target>,
    pub foreign: BTreeMap<String, WatchedSecret>,
    /// Secrets that are in the way, and whose they are.
    pub conflicting: BTreeMap<String, String>,
    /// By target Secret: the certificates that are to be published as it.
    claimants: BTreeMap<String, BTreeSet<String>>,
    /// Of target Secrets and versions.
    arrivals: Arrivals,
    /// When a target Secret was last found to be gone, or all of them were listed.
    last_vanished: Option<SystemTime>,
    /// As it was observed last; `None` since something changed.
    view: Option<NamespaceView>,
}

/// What an observation has of it.
pub struct NamespaceView {
    pub certificates: InNamespace<Arc<Certificate>>,
    /// Those that others issue, and target Secrets that no certificate publishes any more.
    pub watched_secrets: Vec<(ObjectName, WatchedSecret)>,
}

struct Entry {
    /// `None` while only versions of it are known.
    seen: Option<ResourceVersion>,
    secret: String,
    certificate: Arc<Certificate>,
}

/// A Secret of ours.
pub enum OwnedSecret {
    Target(String, Box<Target>),
    Version { name: String, certificate: String, number: u64, version: Arc<Version> },
}

impl OwnedSecret {
    pub fn read(object: &SecretObject) -> Option<Self> {
        let name = object.name().to_owned();
        if let Some(target) = Target::read(object) {
            return Some(Self::Target(name, Box::new(target)));
        }
        let (certificate, number, version) = version::read(object)?;
        Some(Self::Version { name, certificate, number, version: Arc::new(version) })
    }
}

impl NamespaceIndex {
    pub fn view(&mut self, namespace: &str) -> &NamespaceView {
        let view = self.view.take().unwrap_or_else(|| {
            let of = |name: &String| ObjectName::new(namespace.to_owned(), name.clone());
            let certificates = self.certificates().map(|(name, it)| (of(name), Arc::clone(it)));
            let foreign = self.foreign.iter().map(|(name, it)| (of(name), it.clone()));
            let watched = foreign.chain(self.orphans().map(|(name, it)| (of(name), it)));
            NamespaceView {
                certificates: Arc::new(certificates.collect()),
                watched_secrets: watched.collect(),
            }
        });
        self.view.insert(view)
    }

    /// Before anything is changed.
    pub fn forget_view(&mut self) {
        self.view = None;
    }

    /// The certificates that there are.
    pub fn certificates(&self) -> impl Iterator<Item = (&String, &Arc<Certificate>)> {
        let there = self.certificates.iter().filter(|(_, entry)| entry.seen.is_some());
        there.map(|(name, entry)| (name, &entry.certificate))
    }

    pub fn certificate(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(name).filter(|entry| entry.seen.is_some()).map(|entry| &entry.certificate)
    }

    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.certificates().next().is_none()
    }

    /// Every Secret that a pod may serve something of ours from.
    pub fn secrets(&self) -> BTreeSet<String> {
        self.targets.keys().chain(self.claimants.keys()).cloned().collect()
    }

    pub fn target(&self, secret: &str) -> Option<&Target> {
        self.targets.get(secret)
    }

    /// Target Secrets that no certificate publishes any more.
    pub fn orphans(&self) -> impl Iterator<Item = (&String, WatchedSecret)> {
        let is_orphan = |name: &str, target: &Target| match self.certificates.get(&target.certificate) {
            Some(entry) => entry.seen.is_none() || entry.secret != name,
            None => true,
        };
        let orphans = self.targets.iter().filter(move |(name, target)| is_orphan(name, target));
        orphans.map(|(name, target)| {
            let publication = target.publication.as_ref().ok();
            let roots = publication.map(|publication| publication.roots.clone()).unwrap_or_default();
            let written_at = publication.map(|publication| publication.written_at);
            (name, WatchedSecret { leaf: target.leaf.clone(), roots, orphan: true, written_at })
        })
    }

    pub fn put_certificate(
        &mut self,
        name: &str,
        written: ParsedObject<ServiceCertificateSpec, CertificateStatus>,
    ) {
        let entry = self.entry(name);
        if entry.seen.as_ref().is_some_and(|seen| is_older(&written.resource_version, seen)) {
            return;
        }
        let secret = CertificateSettings::secret_name(name, &written.spec);
        let before = std::mem::replace(&mut entry.secret, secret.clone());
        entry.seen = Some(written.resource_version.clone());
        let certificate = Arc::make_mut(&mut entry.certificate);
        certificate.resource_version = written.resource_version;
        certificate.uid = written.uid;
        certificate.generation = written.generation;
        certificate.spec = written.spec;
        certificate.status = written.status;
        certificate.deleting = written.deleting;
        certificate.requests = written.requests;
        if before != secret {
            self.remove_claim(&before, name);
        }
        self.claimants.entry(secret).or_default().insert(name.to_owned());
        self.refresh(name);
    }

    /// From an answer, which may be late: only the watch brings a certificate that is not there.
    pub fn update_certificate(
        &mut self,
        name: &str,
        answer: ParsedObject<ServiceCertificateSpec, CertificateStatus>,
    ) {
        if self.certificate(name).is_some() {
            self.put_certificate(name, answer);
        }
    }

    pub fn remove_certificate(&mut self, name: &str, resource_version: Option<&ResourceVersion>) {
        let Some(entry) = self.certificates.get_mut(name) else { return };
        if let (Some(resource_version), Some(seen)) = (resource_version, &entry.seen)
            && is_older(resource_version, seen)
        {
            return;
        }
        entry.seen = None;
        let secret = std::mem::take(&mut entry.secret);
        if entry.certificate.versions.is_empty() {
            self.certificates.remove(name);
        }
        self.remove_claim(&secret, name);
    }

    /// After a list: those that are not in it are gone.
    pub fn retain_certificates(&mut self, listed: &BTreeSet<String>) {
        self.forget_view();
        let gone: Vec<_> =
            self.certificates().map(|(name, _)| name.clone()).filter(|name| !listed.contains(name)).collect();
        for name in gone {
            self.remove_certificate(&name, None);
        }
    }

    pub fn put(&mut self, owned: OwnedSecret, source: Source) {
        match owned {
            OwnedSecret::Target(name, target) => {
                let known = self.targets.get(&name).map(|known| &known.resource_version);
                if !self.arrivals.accept(&name, &target.resource_version, known, source) {
                    return;
                }
                self.conflicting.remove(&name);
                self.targets.insert(name.clone(), *target);
                self.refresh_claimants(&name);
            }
            OwnedSecret::Version { name, certificate, number, version } => {
                let known = self.certificates.get(&certificate);
                let known = known.and_then(|entry| entry.certificate.versions.get(&number)).cloned();
                let known_version = known.as_ref().map(|known| &known.resource_version);
                if self.arrivals.accept(&name, &version.resource_version, known_version, source)
                    && known.as_ref() != Some(&version)
                {
                    let entry = self.entry(&certificate);
                    Arc::make_mut(&mut entry.certificate).versions.insert(number, version);
                }
            }
        }
    }

    /// Removes it at this resource version or an older one.
    pub fn remove(&mut self, object: &SecretObject) {
        let (name, resource_version) = (object.name(), object.resource_version());
        self.remove_target(name, &resource_version);
        if let Some((certificate, number, _)) = version::read(object) {
            self.remove_version(&certificate, number, &resource_version);
        }
    }

    /// Removes it at this resource version or an older one.
    pub fn remove_target(&mut self, name: &str, resource_version: &ResourceVersion) {
        let Some(known) = self.targets.get(name) else {
            return self.arrivals.bury(name, resource_version.clone());
        };
        if !is_older(resource_version, &known.resource_version) {
            self.arrivals.bury(name, resource_version.clone());
            self.targets.remove(name);
            self.last_vanished = Some(SystemTime::now());
            self.refresh_claimants(name);
        }
    }

    /// Removes it at this resource version or an older one.
    pub fn remove_version(&mut self, certificate: &str, number: u64, resource_version: &ResourceVersion) {
        let name = version::name(certificate, number);
        let Some(entry) = self.certificates.get_mut(certificate) else {
            return self.arrivals.bury(&name, resource_version.clone());
        };
        if let Some(known) = entry.certificate.versions.get(&number) {
            if is_older(resource_version, &known.resource_version) {
                return;
            }
            Arc::make_mut(&mut entry.certificate).versions.remove(&number);
        }
        self.arrivals.bury(&name, resource_version.clone());
        if entry.seen.is_none() && entry.certificate.versions.is_empty() {
            self.certificates.remove(certificate);
        }
    }

    /// After a list: what is not in it is gone, unless it was written meanwhile.
    pub fn retain_listed(&mut self, listed: &BTreeSet<String>, list: ListSpan) {
        let is_gone = |name: &str| !listed.contains(name) && !self.arrivals.may_be_newer(name, list);
        let targets = self.targets.iter().filter(|(name, _)| is_gone(name));
        let targets: Vec<_> =
            targets.map(|(name, target)| (name.clone(), target.resource_version.clone())).collect();
        let versions: Vec<_> = self
            .certificates
            .iter()
            .flat_map(|(name, entry)| entry.certificate.versions.iter().map(move |version| (name, version)))
            .filter(|(name, (number, _))| is_gone(&version::name(name, **number)))
            .map(|(name, (number, version))| (name.clone(), *number, version.resource_version.clone()))
            .collect();
        for (name, version) in targets {
            self.remove_target(&name, &version);
        }
        for (name, number, version) in versions {
            self.remove_version(&name, number, &version);
        }
        self.arrivals.list_ended(list);
        self.owned = Listing::Complete;
        self.last_vanished = Some(SystemTime::now());
        self.refresh_all();
    }

    /// What is known of the target Secrets as a whole; `None` while they are being listed.
    pub fn secret_listing(&self) -> Option<SecretListing> {
        match &self.owned {
            Listing::Complete | Listing::NamespaceGone => self.last_vanished.map(SecretListing::Complete),
            Listing::Forbidden(why) | Listing::Pending { problem: Some(why), .. } => {
                Some(SecretListing::Failed(why.clone()))
            }
            Listing::Pending { problem: None, .. } => None,
        }
    }

    /// Whether there is such a namespace, if its Secrets may not be listed.
    pub fn record_presence(&mut self, is_there: bool) {
        match (&self.owned, is_there) {
            (Listing::Forbidden(_), false) => {
                self.retain_listed(&BTreeSet::new(), ListSpan { since: Instant::now(), newest: 0 });
                self.owned = Listing::NamespaceGone;
            }
            (Listing::NamespaceGone, true) => {
                self.deny("there is a namespace of this name again, and its Secrets are not listed".into());
            }
            _ => {}
        }
    }

    /// Nothing of it counts until it has been listed again.
    pub fn distrust(&mut self) {
        self.forget_view();
        (self.owned, self.watched) = (Listing::default(), Listing::default());
        self.refresh_all();
    }

    /// The right to its Secrets is missing. What was known of them may not be so any more.
    pub fn deny_access(&mut self, why: String) {
        // The namespace is still gone.
        if matches!(self.owned, Listing::NamespaceGone) {
            return;
        }
        self.deny(why);
    }

    fn deny(&mut self, why: String) {
        self.owned = Listing::Forbidden(why);
        self.refresh_all();
    }

    /// `None`: this Secret is not in the way any more.
    pub fn set_conflicting(&mut self, secret: &str, whose: Option<String>) {
        match whose {
            Some(whose) => self.conflicting.insert(secret.to_owned(), whose),
            None => self.conflicting.remove(secret),
        };
        self.refresh_claimants(secret);
    }

    /// Those who are to be published as this Secret.
    pub fn claimants(&self, secret: &str) -> impl Iterator<Item = &String> {
        self.claimants.get(secret).into_iter().flatten()
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.certificates.entry(name.to_owned()).or_insert_with(|| Entry {
            seen: None,
            secret: String::new(),
            certificate: Arc::new(Certificate {
                uid: String::new(),
                resource_version: ResourceVersion::default(),
                generation: 0,
                spec: ServiceCertificateSpec::default(),
                status: CertificateStatus::default(),
                deleting: false,
                requests: BTreeMap::new(),
                versions: BTreeMap::new(),
                published: Published::Absent,
            }),
        })
    }

    fn remove_claim(&mut self, secret: &str, certificate: &str) {
        let Some(claimants) = self.claimants.get_mut(secret) else { return };
        claimants.remove(certificate);
        if claimants.is_empty() {
            self.claimants.remove(secret);
            self.conflicting.remove(secret);
        }
    }

    fn refresh_claimants(&mut self, secret: &str) {
        let claimants: Vec<_> = self.claimants(secret).cloned().collect();
        claimants.iter().for_each(|name| self.refresh(name));
    }

    fn refresh_all(&mut self) {
        let names: Vec<_> = self.certificates().map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.refresh(name));
    }

    fn refresh(&mut self, name: &str) {
        let Some(entry) = self.certificates.get(name) else { return };
        let published = self.published(name, &entry.secret);
        if let Some(entry) = self.certificates.get_mut(name) {
            Arc::make_mut(&mut entry.certificate).published = published;
        }
    }

    fn published(&self, certificate: &str, secret: &str) -> Published {
        match &self.owned {
            Listing::Forbidden(why) => return Published::Inaccessible(why.clone()),
            Listing::Pending { problem, .. } => {
                let why = problem.as_deref().unwrap_or("no answer yet");
                return Published::Inaccessible(format!(
                    "the Secrets of its namespace are not listed yet: {why}"
                ));
            }
            Listing::Complete | Listing::NamespaceGone => {}
        }
        match (self.targets.get(secret), self.conflicting.get(secret)) {
            (Some(target), _) if target.certificate != certificate => {
                Published::OwnedByOther(format!("is the ServiceCertificate {}'s", target.certificate))
            }
            (Some(Target { publication: Ok(publication), .. }), _) => Published::Ours(publication.clone()),
            (Some(Target { publication: Err(why), .. }), _) => Published::OwnedByOther(why.clone()),
            (None, Some(whose)) => Published::OwnedByOther(whose.clone()),
            (None, None) => Published::Absent,
        }
    }
}

#[cfg(test)]
mod tests;
