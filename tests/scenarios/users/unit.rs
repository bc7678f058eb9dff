//! As much of a systemd unit as the test carries out by itself.

use std::collections::BTreeSet;
use std::path::Path;

/// Its settings, in order.
pub struct Unit(Vec<(String, String)>);

impl Unit {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        Self(settings(&text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("one {name}: {:?}", self.all(name)) };
        value
    }

    pub fn command_line(&self) -> Vec<&str> {
        self.one("ExecStart").split(' ').collect()
    }

    pub fn environment(&self) -> Vec<(&str, &str)> {
        self.all("Environment").into_iter().map(|pair| pair.split_once('=').unwrap()).collect()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// NAME=VALUE of each line that is one; of a file of settings, too.
pub fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
}

/// Every environment variable of ours that is named anywhere.
pub fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| word.starts_with("HOTCERT_")).collect()
}
