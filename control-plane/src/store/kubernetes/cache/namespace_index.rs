//! What is known of one namespace: its certificates with their versions, its target Secrets, and the
//! Secrets that others issue. A certificate's entry is whole after every change, so that a look only
//! copies pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::listing::Listing;
use super::{Written, is_older};
use crate::api::resource::{CertificateStatus, ServiceCertificateSpec};
use crate::api::settings::CertificateSettings;
use crate::planner::observed::{Certificate, Published, ResourceVersion, Version, WatchedSecret};
use crate::store::kubernetes::secret::SecretObject;
use crate::store::kubernetes::target::Target;
use crate::store::kubernetes::version;

#[derive(Default)]
pub struct NamespaceIndex {
    pub ours: Listing,
    pub watched: Listing,
    certificates: BTreeMap<String, Entry>,
    targets: BTreeMap<String, Target>,
    pub foreign: BTreeMap<String, WatchedSecret>,
    /// Secrets that are in the way, and whose they are.
    pub strange: BTreeMap<String, String>,
    /// By target Secret: the certificates that are to be published as it.
    wanting: BTreeMap<String, BTreeSet<String>>,
    /// What was written here, until the watch has caught up with it.
    wrote: BTreeMap<String, Instant>,
}

struct Entry {
    /// `None` while only versions of it are known.
    seen: Option<ResourceVersion>,
    secret: String,
    certificate: Arc<Certificate>,
}

/// A Secret of ours.
pub enum Ours {
    Target(String, Box<Target>),
    Version { name: String, certificate: String, number: u64, version: Arc<Version> },
}

impl Ours {
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
        self.targets.keys().chain(self.wanting.keys()).cloned().collect()
    }

    /// Target Secrets that no certificate publishes any more.
    pub fn orphans(&self) -> impl Iterator<Item = (&String, WatchedSecret)> {
        let is_orphan = |name: &str, target: &Target| match self.certificates.get(&target.certificate) {
            Some(entry) => entry.seen.is_none() || entry.secret != name,
            None => true,
        };
        let orphans = self.targets.iter().filter(move |(name, target)| is_orphan(name, target));
        orphans.map(|(name, target)| {
            let roots = target.publication.as_ref().map(|publication| publication.roots.clone());
            let (leaf, roots) = (target.leaf.clone(), roots.unwrap_or_default());
            (name, WatchedSecret { leaf, roots, orphan: true })
        })
    }

    pub fn put_certificate(
        &mut self,
        name: &str,
        written: Written<ServiceCertificateSpec, CertificateStatus>,
    ) {
        let entry = self.entry(name);
        if entry.seen.as_ref().is_some_and(|seen| is_older(&written.stamp, seen)) {
            return;
        }
        let secret = CertificateSettings::secret_name(name, &written.spec);
        let before = std::mem::replace(&mut entry.secret, secret.clone());
        entry.seen = Some(written.stamp);
        let certificate = Arc::make_mut(&mut entry.certificate);
        certificate.uid = written.uid;
        certificate.generation = written.generation;
        certificate.spec = written.spec;
        certificate.status = written.status;
        certificate.deleting = written.deleting;
        certificate.requests = written.requests;
        if before != secret {
            self.unwant(&before, name);
        }
        self.wanting.entry(secret).or_default().insert(name.to_owned());
        self.settle(name);
    }

    pub fn remove_certificate(&mut self, name: &str, stamp: Option<&ResourceVersion>) {
        let Some(entry) = self.certificates.get_mut(name) else { return };
        if let (Some(stamp), Some(seen)) = (stamp, &entry.seen)
            && is_older(stamp, seen)
        {
            return;
        }
        entry.seen = None;
        let secret = std::mem::take(&mut entry.secret);
        if entry.certificate.versions.is_empty() {
            self.certificates.remove(name);
        }
        self.unwant(&secret, name);
    }

    /// After a list: those that are not in it are gone.
    pub fn keep_certificates(&mut self, listed: &BTreeSet<String>) {
        let gone: Vec<_> =
            self.certificates().map(|(name, _)| name.clone()).filter(|name| !listed.contains(name)).collect();
        for name in gone {
            self.remove_certificate(&name, None);
        }
    }

    /// `wrote`: it was written here a moment ago, and the watch does not know yet.
    pub fn put(&mut self, ours: Ours, wrote: bool) {
        let name = match &ours {
            Ours::Target(name, _) | Ours::Version { name, .. } => name.clone(),
        };
        match ours {
            Ours::Target(name, target) => {
                let known = self.targets.get(&name);
                if known.is_some_and(|known| is_older(&target.stamp, &known.stamp)) {
                    return;
                }
                self.strange.remove(&name);
                self.targets.insert(name.clone(), *target);
                self.settle_wanting(&name);
            }
            Ours::Version { certificate, number, version, .. } => {
                let entry = self.entry(&certificate);
                if entry.certificate.versions.get(&number) != Some(&version) {
                    Arc::make_mut(&mut entry.certificate).versions.insert(number, version);
                }
            }
        }
        if wrote {
            self.wrote.insert(name, Instant::now());
        } else {
            self.wrote.remove(&name);
        }
    }

    pub fn remove(&mut self, object: &SecretObject) {
        let (name, stamp) = (object.name(), object.stamp());
        if self.targets.get(name).is_some_and(|known| !is_older(&stamp, &known.stamp)) {
            self.remove_target(name);
        }
        if let Some((certificate, number, _)) = version::read(object) {
            self.remove_version(&certificate, number);
        }
        self.wrote.remove(name);
    }

    pub fn remove_version(&mut self, certificate: &str, number: u64) {
        let Some(entry) = self.certificates.get_mut(certificate) else { return };
        if entry.certificate.versions.contains_key(&number) {
            Arc::make_mut(&mut entry.certificate).versions.remove(&number);
        }
        if entry.seen.is_none() && entry.certificate.versions.is_empty() {
            self.certificates.remove(certificate);
        }
    }

    /// After a list that began at `since`: what is not in it is gone, unless it was written meanwhile.
    pub fn keep(&mut self, listed: &BTreeSet<String>, since: Instant) {
        self.wrote.retain(|_, at| *at >= since);
        let is_gone = |name: &str| !listed.contains(name) && !self.wrote.contains_key(name);
        let targets: Vec<_> = self.targets.keys().filter(|name| is_gone(name)).cloned().collect();
        let versions: Vec<_> = self
            .certificates
            .iter()
            .flat_map(|(name, entry)| entry.certificate.versions.keys().map(move |number| (name, *number)))
            .filter(|(name, number)| is_gone(&version::name(name, *number)))
            .map(|(name, number)| (name.clone(), number))
            .collect();
        targets.iter().for_each(|name| self.remove_target(name));
        versions.iter().for_each(|(name, number)| self.remove_version(name, *number));
        self.ours = Listing::Complete;
        self.settle_all();
    }

    /// The right to its Secrets is missing. What was known of them may not be so any more.
    pub fn close(&mut self, why: String) {
        self.ours = Listing::Closed(why);
        self.settle_all();
    }

    /// `None`: this Secret is not in the way any more.
    pub fn find_strange(&mut self, secret: &str, whose: Option<String>) {
        match whose {
            Some(whose) => self.strange.insert(secret.to_owned(), whose),
            None => self.strange.remove(secret),
        };
        self.settle_wanting(secret);
    }

    /// Those who are to be published as this Secret.
    pub fn wanting(&self, secret: &str) -> impl Iterator<Item = &String> {
        self.wanting.get(secret).into_iter().flatten()
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.certificates.entry(name.to_owned()).or_insert_with(|| Entry {
            seen: None,
            secret: String::new(),
            certificate: Arc::new(Certificate {
                uid: String::new(),
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

    fn unwant(&mut self, secret: &str, certificate: &str) {
        let Some(wanting) = self.wanting.get_mut(secret) else { return };
        wanting.remove(certificate);
        if wanting.is_empty() {
            self.wanting.remove(secret);
            self.strange.remove(secret);
        }
    }

    fn remove_target(&mut self, name: &str) {
        self.targets.remove(name);
        self.settle_wanting(name);
    }

    fn settle_wanting(&mut self, secret: &str) {
        let wanting: Vec<_> = self.wanting(secret).cloned().collect();
        wanting.iter().for_each(|name| self.settle(name));
    }

    fn settle_all(&mut self) {
        let names: Vec<_> = self.certificates().map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.settle(name));
    }

    fn settle(&mut self, name: &str) {
        let Some(entry) = self.certificates.get(name) else { return };
        let published = self.published(name, &entry.secret);
        if let Some(entry) = self.certificates.get_mut(name) {
            Arc::make_mut(&mut entry.certificate).published = published;
        }
    }

    fn published(&self, certificate: &str, secret: &str) -> Published {
        match &self.ours {
            Listing::Closed(why) => return Published::Inaccessible(why.clone()),
            Listing::Pending { problem, .. } => {
                let why = problem.as_deref().unwrap_or("no answer yet");
                return Published::Inaccessible(format!(
                    "the Secrets of its namespace are not listed yet: {why}"
                ));
            }
            Listing::Complete => {}
        }
        match (self.targets.get(secret), self.strange.get(secret)) {
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
