//! The places in DIR. Every path is made here, out of names that were judged before, so nothing that is
//! read or written lies outside.

use std::path::{Path, PathBuf};

use crate::planner::observed::ObjectName;
use crate::store::{ObjectRef, StoreError};

/// DIR itself.
#[derive(Debug)]
pub struct Tree(PathBuf);

impl Tree {
    pub fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub fn authorities(&self) -> PathBuf {
        self.0.join("authorities")
    }

    pub fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    pub fn imports(&self) -> PathBuf {
        self.0.join("imports")
    }

    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// The file that a person writes.
    pub fn object(&self, about: &ObjectRef) -> Result<PathBuf, StoreError> {
        Ok(match about {
            ObjectRef::Authority(name) => self.authorities().join(format!("{}.yaml", checked(name)?)),
            ObjectRef::Certificate(ObjectName { namespace, name }) => {
                self.certificates().join(checked(namespace)?).join(format!("{}.yaml", checked(name)?))
            }
        })
    }

    /// What is kept beside that file.
    pub fn kept_of(&self, about: &ObjectRef) -> Result<PathBuf, StoreError> {
        Ok(match about {
            ObjectRef::Authority(name) => self.state().join("authorities").join(checked(name)?),
            ObjectRef::Certificate(name) => below(&self.state().join("certificates"), name)?,
        })
    }

    pub fn keyring(&self, authority: &str) -> Result<PathBuf, StoreError> {
        Ok(self.kept_of(&ObjectRef::Authority(authority.to_owned()))?.join("keyring"))
    }

    pub fn versions(&self, certificate: &ObjectName) -> Result<PathBuf, StoreError> {
        below(&self.state().join("versions"), certificate)
    }

    pub fn import(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.imports().join(checked(name)?))
    }

    pub fn secret(&self, secret: &ObjectName) -> Result<PathBuf, StoreError> {
        below(&self.secrets(), secret)
    }

    pub fn all_pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    pub fn pods(&self, namespace: &str) -> Result<PathBuf, StoreError> {
        Ok(self.all_pods().join(checked(namespace)?))
    }
}

fn below(directory: &Path, name: &ObjectName) -> Result<PathBuf, StoreError> {
    Ok(directory.join(checked(&name.namespace)?).join(checked(&name.name)?))
}

/// As Kubernetes names its objects.
pub fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || matches!(c, '-' | '.'))
}

fn checked(name: &str) -> Result<&str, StoreError> {
    if is_name(name) {
        return Ok(name);
    }
    // It may be anything, so not all of it is repeated.
    let shown: String = name.chars().take(80).collect();
    Err(StoreError::Malformed {
        what: format!("the name {shown:?}"),
        cause:
            "a name has up to 253 lower-case letters, digits, hyphens and dots, with a letter or a digit at \
                both ends"
                .into(),
    })
}
