//! An authority's keyring as one Secret of the control plane's own namespace, so that it is written as
//! one. Nobody owns it: no garbage collector deletes a key. One that cannot be read is never written over.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use zeroize::Zeroizing;

use super::label::{HOTCERT, MANAGED_BY};
use super::secret::SecretObject;
use crate::pki::authority::Authority;
use crate::pki::keyring::{Keyring, RootId, State};

pub const TYPE: &str = "hotcert.dev/keyring";
const PREFIX: &str = "hotcert-ca-";
const STATE: &str = "state.json";
/// More than a rollover has, and fewer than it would take long to read.
const MOST_ROOTS: usize = 8;

pub fn name(authority: &str) -> String {
    format!("{PREFIX}{authority}")
}

/// The authority that it is of.
pub fn authority(object: &SecretObject) -> Option<&str> {
    object.name().strip_prefix(PREFIX).filter(|_| object.of == TYPE)
}

pub fn object(
    namespace: &str,
    authority: &str,
    keyring: &Keyring,
    over: Option<ObjectMeta>,
) -> Result<SecretObject, serde_json::Error> {
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
    let mut data = BTreeMap::new();
    data.insert(STATE.to_owned(), Zeroizing::new(serde_json::to_vec(&keyring.state)?));
    for (id, root) in &keyring.roots {
        data.insert(format!("{id}.crt"), Zeroizing::new(root.certificate_pem().as_bytes().to_vec()));
        data.insert(format!("{id}.key"), Zeroizing::new(root.key_pem().as_bytes().to_vec()));
    }
    Ok(SecretObject::new(metadata, TYPE, data))
}

/// An error says what is wrong, and nothing of a key.
pub fn keyring(object: &SecretObject) -> Result<Keyring, String> {
    let state: State = serde_json::from_slice(object.value(STATE))
        .map_err(|error| format!("{STATE} at line {}, column {}", error.line(), error.column()))?;
    let names: Vec<&str> = object.keys().filter_map(|key| key.strip_suffix(".crt")).collect();
    if names.len() > MOST_ROOTS {
        return Err(format!("it has {} roots, more than {MOST_ROOTS}", names.len()));
    }
    let mut roots = BTreeMap::new();
    for name in names {
        let [certificate, key] = ["crt", "key"].map(|part| object.value(&format!("{name}.{part}")));
        let root = Authority::import(certificate, key).map_err(|error| format!("{name}: {error}"))?;
        let id = RootId::of(&root);
        if id.to_string() != name {
            return Err(format!("{name}.crt is the root {id}"));
        }
        roots.insert(id, root);
    }
    if let Some(missing) = state.needed().into_iter().find(|id| !roots.contains_key(id)) {
        return Err(format!("the root {missing} is missing"));
    }
    Ok(Keyring { state, roots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::observed::{KeyringView, ResourceVersion};
    use crate::store::kubernetes::examples;

    fn made() -> (Keyring, SecretObject) {
        let keyring = Keyring::new(examples::root());
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

    #[test]
    fn one_that_is_not_whole_is_refused_without_a_word_of_its_keys() {
        let (keyring, object) = made();
        let id = keyring.state.signing().to_string();
        let with = |key: String, value: Option<&[u8]>| {
            let mut data: BTreeMap<_, _> = object
                .keys()
                .map(|key| (key.to_owned(), Zeroizing::new(object.value(key).to_vec())))
                .collect();
            match value {
                Some(value) => data.insert(key, Zeroizing::new(value.to_vec())),
                None => data.remove(&key),
            };
            super::keyring(&SecretObject::new(object.metadata.clone(), TYPE, data)).unwrap_err()
        };
        assert!(with(STATE.into(), Some(b"{")).contains(STATE));
        assert!(with(STATE.into(), None).contains(STATE));
        assert!(with(format!("{id}.crt"), None).contains("missing"));
        let other = Keyring::new(examples::root());
        let pem = other.signing().unwrap().certificate_pem().as_bytes().to_vec();
        assert!(with(format!("{id}.crt"), Some(&pem)).contains("does not belong"));
        for error in [with(format!("{id}.key"), Some(b"-----BEGIN PRIVATE")), with("x.crt".into(), Some(b""))]
        {
            assert!(!error.contains("BEGIN") && error.contains(':'), "{error}");
        }
    }
}
