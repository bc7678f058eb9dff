//! An authority's keyring as one Secret of the control plane's own namespace, so that it is written as
//! one. It has no owner, so that no garbage collector deletes a key. One that cannot be read is never replaced.

use kube::core::ObjectMeta;

use super::label::{HOTCERT, MANAGED_BY};
use crate::pki::keyring::Keyring;
use crate::store::codec::{self, Malformed};
use crate::store::kubernetes::secret_object::SecretObject;

pub const TYPE: &str = "hotcert.dev/keyring";
const PREFIX: &str = "hotcert-ca-";

pub fn name(authority: &str) -> String {
    format!("{PREFIX}{authority}")
}

/// The authority that it is of.
pub fn authority(object: &SecretObject) -> Option<&str> {
    authority_of(object.name()).filter(|_| object.of == TYPE)
}

/// The authority that a keyring of this name is of.
pub fn authority_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

pub fn object(
    namespace: &str,
    authority: &str,
    keyring: &Keyring,
    over: Option<ObjectMeta>,
) -> Result<SecretObject, Malformed> {
    let over = over.unwrap_or_default();
    let mut labels = over.labels.unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), HOTCERT.to_owned());
    let metadata = ObjectMeta {
        name: Some(name(authority)),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        annotations: over.annotations,
        finalizers: over.finalizers,
        resource_version: over.resource_version,
        ..Default::default()
    };
    Ok(SecretObject::new(metadata, TYPE, codec::keyring::encode(keyring)?))
}

pub fn keyring(object: &SecretObject) -> Result<Keyring, Malformed> {
    codec::keyring::decode(object.keys(), |name| object.value(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::observed::{KeyringView, ResourceVersion};
    use crate::store::kubernetes::test_objects;

    fn made() -> (Keyring, SecretObject) {
        let keyring = Keyring::new(test_objects::root());
        let object = object("hotcert-system", "root-prod-shop", &keyring, None).unwrap();
        (keyring, object)
    }

    #[test]
    fn a_keyring_comes_back_as_it_was_written() {
        let (keyring, object) = made();
        assert_eq!(authority(&object), Some("root-prod-shop"));
        assert_eq!(object.metadata.owner_references, None);
        let again = super::keyring(&object).unwrap();
        assert_eq!(again.state, keyring.state);
        let (ring, before) = (
            KeyringView::of(&again, ResourceVersion::default()),
            KeyringView::of(&keyring, ResourceVersion::default()),
        );
        assert_eq!(ring.roots, before.roots);
        assert!(!format!("{ring:?} {object:?}").contains("PRIVATE"));
    }
}
