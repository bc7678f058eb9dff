//! A map by namespace and name whose copy shares what it has of each namespace: with ten thousand objects an
//! observation copies a pointer for each namespace, and what changed since another is looked for in those that differ.

use std::collections::BTreeMap;
use std::ops::Index;
use std::sync::Arc;

use crate::api::object_name::ObjectName;

/// What there is in one namespace. Never empty in a [`ByNamespace`].
pub type InNamespace<V> = Arc<BTreeMap<ObjectName, V>>;

#[derive(Clone, Debug, PartialEq)]
pub struct ByNamespace<V>(BTreeMap<String, InNamespace<V>>);

impl<V> Default for ByNamespace<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> ByNamespace<V> {
    pub fn get(&self, name: &ObjectName) -> Option<&V> {
        self.0.get(&name.namespace)?.get(name)
    }

    pub fn contains_key(&self, name: &ObjectName) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &V)> + Clone {
        self.0.values().flat_map(|objects| objects.iter())
    }

    pub fn keys(&self) -> impl Iterator<Item = &ObjectName> + Clone {
        self.iter().map(|(name, _)| name)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&ObjectName, &V)> {
        self.0.get(namespace).into_iter().flat_map(|objects| objects.iter())
    }

    pub fn len(&self) -> usize {
        self.0.values().map(|objects| objects.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what there is in a namespace.
    pub fn share(&mut self, namespace: &str, objects: &InNamespace<V>) {
        if !objects.is_empty() {
            self.0.insert(namespace.to_owned(), Arc::clone(objects));
        }
    }

    /// The namespaces that are not known to have the same objects in both, and what each has of them.
    pub fn differing<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a InNamespace<V>>, Option<&'a InNamespace<V>>)> {
        let both = self.0.iter().map(|(namespace, objects)| (Some(objects), other.0.get(namespace)));
        let others = other.0.iter().filter(|(namespace, _)| !self.0.contains_key(*namespace));
        let differ = |here: &InNamespace<V>, there: &InNamespace<V>| !Arc::ptr_eq(here, there);
        both.filter(move |pair| !matches!(pair, (Some(here), Some(there)) if !differ(here, there)))
            .chain(others.map(|(_, objects)| (None, Some(objects))))
    }
}

impl<V: Clone> ByNamespace<V> {
    pub fn get_mut(&mut self, name: &ObjectName) -> Option<&mut V> {
        Arc::make_mut(self.0.get_mut(&name.namespace)?).get_mut(name)
    }

    pub fn insert(&mut self, name: ObjectName, value: V) -> Option<V> {
        Arc::make_mut(self.0.entry(name.namespace.clone()).or_default()).insert(name, value)
    }

    pub fn remove(&mut self, name: &ObjectName) -> Option<V> {
        let objects = Arc::make_mut(self.0.get_mut(&name.namespace)?);
        let removed = objects.remove(name);
        if objects.is_empty() {
            self.0.remove(&name.namespace);
        }
        removed
    }
}

impl<V> Index<&ObjectName> for ByNamespace<V> {
    type Output = V;

    fn index(&self, name: &ObjectName) -> &V {
        self.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }
}

impl<V: Clone> FromIterator<(ObjectName, V)> for ByNamespace<V> {
    fn from_iter<I: IntoIterator<Item = (ObjectName, V)>>(all: I) -> Self {
        let mut map = Self::default();
        map.extend(all);
        map
    }
}

impl<V: Clone> Extend<(ObjectName, V)> for ByNamespace<V> {
    fn extend<I: IntoIterator<Item = (ObjectName, V)>>(&mut self, all: I) {
        for (name, value) in all {
            self.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<V>(objects: Option<&InNamespace<V>>) -> Vec<String> {
        objects.into_iter().flat_map(|objects| objects.keys()).map(ToString::to_string).collect()
    }

    #[test]
    fn a_copy_differs_in_the_namespaces_that_were_written_since() {
        let all = ["bank/a", "shop/a", "shop/b"].map(|name| (name.parse().unwrap(), 1));
        let before: ByNamespace<i32> = all.into_iter().collect();
        let mut after = before.clone();
        assert_eq!(before.differing(&after).count(), 0);
        after.insert("shop/b".parse().unwrap(), 2);
        after.insert("new/a".parse().unwrap(), 1);
        let differing: Vec<_> =
            before.differing(&after).map(|(before, after)| (names(before), names(after))).collect();
        let shop = vec!["shop/a".to_owned(), "shop/b".to_owned()];
        assert_eq!(differing, [(shop.clone(), shop), (vec![], vec!["new/a".to_owned()])]);
        assert_eq!((before[&"shop/b".parse().unwrap()], after[&"shop/b".parse().unwrap()]), (1, 2));
        after.remove(&"bank/a".parse().unwrap());
        assert_eq!(after.keys().map(ToString::to_string).collect::<Vec<_>>(), ["new/a", "shop/a", "shop/b"]);
        assert_eq!((after.len(), after.in_namespace("bank").count()), (3, 0));
    }
}
