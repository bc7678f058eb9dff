//! Paths in DIR. Every path is made here, out of validated names, so nothing outside DIR is read or written.

use std::path::{Path, PathBuf};

use crate::api::object_name::ObjectName;
use crate::store::codec::name;
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

    pub fn leader(&self) -> PathBuf {
        self.0.join("leader")
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
            ObjectRef::Authority(name) => self.authorities().join(format!("{}.yaml", name::validate(name)?)),
            ObjectRef::Certificate(ObjectName { namespace, name }) => self
                .certificates()
                .join(name::validate(namespace)?)
                .join(format!("{}.yaml", name::validate(name)?)),
        })
    }

    /// The directory of its state.
    pub fn state_of(&self, about: &ObjectRef) -> Result<PathBuf, StoreError> {
        Ok(match about {
            ObjectRef::Authority(name) => self.state().join("authorities").join(name::validate(name)?),
            ObjectRef::Certificate(name) => below(&self.state().join("certificates"), name)?,
        })
    }

    pub fn keyring(&self, authority: &str) -> Result<PathBuf, StoreError> {
        Ok(self.state_of(&ObjectRef::Authority(authority.to_owned()))?.join("keyring"))
    }

    pub fn versions(&self, certificate: &ObjectName) -> Result<PathBuf, StoreError> {
        below(&self.all_versions(), certificate)
    }

    /// Below it, by namespace and certificate.
    pub fn all_versions(&self) -> PathBuf {
        self.state().join("versions")
    }

    pub fn import(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.imports().join(name::validate(name)?))
    }

    pub fn secret(&self, secret: &ObjectName) -> Result<PathBuf, StoreError> {
        below(&self.secrets(), secret)
    }

    pub fn all_pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    pub fn pods(&self, namespace: &str) -> Result<PathBuf, StoreError> {
        Ok(self.all_pods().join(name::validate(namespace)?))
    }
}

fn below(directory: &Path, name: &ObjectName) -> Result<PathBuf, StoreError> {
    Ok(directory.join(name::validate(&name.namespace)?).join(name::validate(&name.name)?))
}
