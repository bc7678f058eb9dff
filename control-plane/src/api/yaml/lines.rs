//! In which line of a document a value stands, so that an error in it can be found.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// The lines of one document.
#[derive(Debug, Default)]
pub struct Lines(Node);

#[derive(Debug, Default)]
enum Node {
    /// Each value with its key, in the line of the key.
    Map(Vec<(Spanned<String>, Node)>),
    List(Vec<Spanned<Node>>),
    #[default]
    Scalar,
}

impl Lines {
    /// Of no values if the document cannot be read.
    pub fn read(text: &str) -> Self {
        Self(super::read_as(text).unwrap_or_default())
    }

    /// Of a value, such as `topics[0].names`; of what should contain it if it is missing.
    pub fn of(&self, path: &str) -> Option<u64> {
        let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let (mut node, mut line) = (&self.0, None);
        for step in steps {
            let found = match node {
                Node::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| key.value == step)
                    .map(|(key, value)| (value, key.referenced.line())),
                Node::List(items) => step
                    .parse()
                    .ok()
                    .and_then(|number: usize| items.get(number))
                    .map(|item| (&item.value, item.referenced.line())),
                Node::Scalar => None,
            };
            let Some((value, at)) = found else { break };
            (node, line) = (value, Some(at));
        }
        line
    }
}

/// In which line a document that is YAML has something that a `T` has not.
pub fn of_mismatch<T: DeserializeOwned>(text: &str) -> Option<u64> {
    of_error(&super::read_as::<T>(text).err()?)
}

/// Of an error of the parser.
pub fn of_error(error: &serde_saphyr::Error) -> Option<u64> {
    error.location().map(|location| location.line())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(value).map(|_| Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_the_line_of_its_key_and_a_missing_one_in_that_of_its_parent() {
        let text = "# settings\nthresholds: [soon]\ntopics:\n  - name: a\n    names:\n      - x\n      - 'y'\n  \
                    - { name: b, keys: [k] }\nsource: 7\n";
        let lines = Lines::read(text);
        for (path, line) in [
            ("thresholds", Some(2)),
            ("topics", Some(3)),
            ("topics[0].name", Some(4)),
            ("topics[0].names", Some(5)),
            ("topics[0].names[1]", Some(7)),
            ("topics[0].subscriptions[3].keys", Some(4)),
            ("topics[1].keys", Some(8)),
            ("source", Some(9)),
            ("managers", None),
        ] {
            assert_eq!(lines.of(path), line, "{path}");
        }
        assert_eq!(Lines::read("a: [").of("a"), None);
    }

    #[test]
    fn a_mismatch_has_its_line() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            #[allow(dead_code)]
            topics: Vec<String>,
        }
        assert_eq!(of_mismatch::<Settings>("# a\ntpoics: []\n"), Some(2));
        assert_eq!(of_mismatch::<Settings>("topics:\n  - a\n  - {}\n"), Some(3));
        assert_eq!(of_mismatch::<Settings>("topics: [a]\n"), None);
    }
}
