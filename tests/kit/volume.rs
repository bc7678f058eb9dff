//! The identity directory: a Secret volume as kubelet writes it, and the ways in which it can be odd.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hotcert::store::directory::atomic_volume::SecretVolume;

use crate::pki::Pair;

pub struct Volume {
    pub path: PathBuf,
    inner: SecretVolume,
}

impl Volume {
    pub fn open(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { inner: SecretVolume::open(&path).unwrap(), path }
    }

    /// Returns when `..data` was renamed.
    pub fn publish(&self, pair: &Pair, roots: &str) -> Instant {
        self.publish_files(&[("tls.crt", &pair.cert), ("tls.key", &pair.key), ("ca.crt", roots)])
    }

    pub fn publish_files(&self, files: &[(&str, &str)]) -> Instant {
        let files: Vec<_> = files.iter().map(|(name, content)| (*name, content.as_bytes())).collect();
        self.inner.publish(&files).unwrap()
    }

    /// A swap whose content is made by hand, for what no writer would write.
    pub fn publish_odd(&self, fill: impl FnOnce(&Path)) {
        let made = self.path.join("..odd");
        fs::create_dir(&made).unwrap();
        fill(&made);
        symlink("..odd", self.path.join("..data_tmp")).unwrap();
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
    }
}

/// A directory of plain files, such as a `subPath` mount shows.
pub struct PlainDirectory(pub PathBuf);

impl PlainDirectory {
    pub fn create(path: PathBuf, pair: &Pair, roots: &str) -> Self {
        fs::create_dir(&path).unwrap();
        let made = Self(path);
        for (name, content) in [("tls.crt", pair.cert.as_str()), ("tls.key", &pair.key), ("ca.crt", roots)] {
            fs::write(made.0.join(name), content).unwrap();
        }
        made
    }

    /// Whole, by rename.
    pub fn replace(&self, name: &str, content: &str) {
        let half = self.0.join(format!(".{name}.new"));
        fs::write(&half, content).unwrap();
        fs::rename(half, self.0.join(name)).unwrap();
    }
}
