//! Who may come in: the names a verified peer's certificate must carry.

use hotcert_tls::Names;
use hotcert_tls::SanPattern;

/// The peers that a listener admits. Without patterns, every peer that the trust bundle verifies.
#[derive(Clone, Debug, Default)]
pub struct AllowList(pub Vec<SanPattern>);

impl AllowList {
    pub fn admits(&self, names: &Names) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(names))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_patterns_admit_any_verified_peer() {
        assert!(AllowList::default().admits(&Names { dns: vec!["a".into()], ..Names::default() }));
        assert!(
            !AllowList(vec!["dns:b".parse().unwrap()])
                .admits(&Names { dns: vec!["a".into()], ..Names::default() })
        );
    }
}
