//! The ledger of an authority: every Secret that one of its roots was published in. Who needs a root is
//! written here before it is published, and crossed out only after the Secret and the pods that mount it were
//! seen without that root. So it does not depend on what specs say now, nor on what a controller remembers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::root_id::RootId;
use crate::api::object_name::ObjectName;

/// By namespace and name of the Secret: short, because it is part of one Secret with the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    namespaces: BTreeMap<String, BTreeMap<String, LedgerEntry>>,
}

/// What is known of a Secret besides that it may contain a root of the authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Roots that are not this authority's and that pods trusted before it published the Secret. They stay in
    /// the bundle until every pod is seen to serve under this authority.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub moved_from: BTreeSet<RootId>,
    /// A leaf of this authority was about to be published in their place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub switched: bool,
}

/// What is to be written into a ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerChange {
    /// Entries that are added, or replaced.
    pub record: BTreeMap<ObjectName, LedgerEntry>,
    /// Entries that are crossed out.
    pub remove: BTreeSet<ObjectName>,
}

impl Ledger {
    pub fn get(&self, namespace: &str, secret: &str) -> Option<&LedgerEntry> {
        self.namespaces.get(namespace)?.get(secret)
    }

    /// Namespace, name and entry of every Secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &LedgerEntry)> {
        self.namespaces.iter().flat_map(|(namespace, secrets)| {
            secrets.iter().map(move |(secret, entry)| (namespace.as_str(), secret.as_str(), entry))
        })
    }

    pub fn has_moves(&self) -> bool {
        self.iter().any(|(.., entry)| !entry.moved_from.is_empty())
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.namespaces.keys()
    }

    pub fn apply(&mut self, change: &LedgerChange) {
        for (secret, entry) in &change.record {
            let namespace = self.namespaces.entry(secret.namespace.clone()).or_default();
            namespace.insert(secret.name.clone(), entry.clone());
        }
        for secret in &change.remove {
            if let Some(namespace) = self.namespaces.get_mut(&secret.namespace) {
                namespace.remove(&secret.name);
            }
        }
        self.namespaces.retain(|_, secrets| !secrets.is_empty());
    }
}

impl LedgerEntry {
    /// A person lets the pods lose the roots they had before without waiting for proof.
    pub fn overridden() -> Self {
        Self { moved_from: BTreeSet::new(), switched: true }
    }

    pub fn is_overridden(&self) -> bool {
        *self == Self::overridden()
    }

    /// Whether a leaf of this authority may ever have been published in the Secret.
    pub fn may_have_signed(&self) -> bool {
        self.switched || self.moved_from.is_empty()
    }
}

impl LedgerChange {
    pub fn is_empty(&self) -> bool {
        self.record.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_recorded_replaced_and_crossed_out() {
        let secret = |name: &str| ObjectName::new("shop", name);
        let moved = LedgerEntry { moved_from: BTreeSet::from([RootId("aa".into())]), switched: true };
        let mut ledger = Ledger::default();
        let record = BTreeMap::from([(secret("a"), LedgerEntry::default()), (secret("b"), moved.clone())]);
        ledger.apply(&LedgerChange { record, remove: BTreeSet::new() });
        assert_eq!(ledger.get("shop", "b"), Some(&moved));
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(text, r#"{"shop":{"a":{},"b":{"movedFrom":["aa"],"switched":true}}}"#);
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        let record = BTreeMap::from([(secret("b"), LedgerEntry::default())]);
        ledger.apply(&LedgerChange { record, remove: BTreeSet::from([secret("a"), secret("never")]) });
        assert_eq!(ledger.iter().collect::<Vec<_>>(), [("shop", "b", &LedgerEntry::default())]);
        ledger.apply(&LedgerChange { record: BTreeMap::new(), remove: BTreeSet::from([secret("b")]) });
        assert_eq!(ledger.namespaces().count(), 0);
    }
}
