//! What somebody outside says about a certificate or a root of ours: a hint. It is left with the object as a
//! request, and checked against what is there by then; so one that is late, or is said again, does nothing.

use std::time::{Duration, SystemTime};

use crate::api::date;
use crate::pki::x509_facts::Leaf;

/// Dates are told in seconds, and rounded one way or the other.
const ROUNDING: Duration = Duration::from_secs(1);
const REVOKED: &str = "revoked";

/// Which certificate is meant, as far as it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenewalHint {
    /// When the one that is meant expires.
    pub until: Option<SystemTime>,
    /// Hex, without what is not a digit and without zeros in front.
    pub serial: Option<String>,
    /// It must not be used any more, however long it would be valid.
    pub revoked: bool,
}

impl RenewalHint {
    pub fn new(until: Option<SystemTime>, serial: Option<&str>) -> Self {
        let serial = serial.map(plain).filter(|serial| !serial.is_empty());
        Self { until, serial, revoked: false }
    }

    /// Of a request. What cannot be read was not said.
    pub fn parse(words: &str) -> Self {
        let word = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key));
        let revoked = words.split_whitespace().any(|word| word == REVOKED);
        Self { revoked, ..Self::new(word("until=").and_then(date::parse), word("serial=")) }
    }

    /// As a request has it.
    pub fn words(&self) -> String {
        let until = self.until.map(|until| format!("until={}", date::seconds(until)));
        let serial = self.serial.as_ref().map(|serial| format!("serial={serial}"));
        let revoked = self.revoked.then(|| REVOKED.to_owned());
        until.into_iter().chain(serial).chain(revoked).collect::<Vec<_>>().join(" ")
    }

    /// Why nothing follows from it for this certificate, which was made at `since`; `asked`: because somebody
    /// asked for it, as a notice does. Who announces what is valid for less than a month would otherwise have
    /// certificates that live for a month replaced without end.
    pub fn obsolete(&self, leaf: &Leaf, since: SystemTime, asked: bool, now: SystemTime) -> Option<String> {
        let end = date::seconds(leaf.not_after);
        if let Some(until) = self.until
            && leaf.not_after > until.checked_add(ROUNDING).unwrap_or(until)
        {
            return Some(format!(
                "it is valid until {end}, later than the notice says: it was replaced since"
            ));
        }
        if let Some(until) = self.until
            && until > leaf.not_after.checked_add(ROUNDING).unwrap_or(until)
        {
            return Some(format!("it is valid until {end}: the notice means one that is valid longer"));
        }
        if let Some(serial) = &self.serial
            && *serial != plain(&leaf.serial)
        {
            return Some(format!("its serial is {}: the notice means another one", leaf.serial));
        }
        let life = leaf.not_after.duration_since(since).unwrap_or_default();
        let is_young = now < since.checked_add(life / 2).unwrap_or(now);
        if self.until.is_none() && self.serial.is_none() && is_young {
            let said = "is in the first half of its life, and the notice does not say which one it means";
            return Some(format!("it is valid until {end}, {said}"));
        }
        if asked && is_young && !self.revoked {
            let said = "it was replaced before its time and is in the first half of its life";
            return Some(format!("it is valid until {end}, {said}: it is too early for another"));
        }
        None
    }
}

fn plain(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).take(128).collect();
    digits.trim_start_matches('0').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn leaf() -> Leaf {
        Leaf { sha256: "ab".into(), serial: "0a:BC".into(), not_before: at(0), not_after: at(10_000) }
    }

    #[test]
    fn only_a_notice_about_this_very_certificate_counts() {
        let obsolete =
            |words: &str, now| RenewalHint::parse(words).obsolete(&leaf(), at(0), false, at(now)).is_some();
        for (words, now, expected) in [
            ("until=1970-01-01T02:46:40Z", 1, false),
            ("until=1970-01-01T02:46:39Z", 1, false),
            ("until=1970-01-01T02:46:38Z", 1, true),
            ("until=1971-01-01T00:00:00Z", 1, true),
            ("serial=abc", 1, false),
            ("serial=00:0A:BC", 1, false),
            ("serial=abd", 1, true),
            ("until=1970-01-01T02:46:40Z serial=abd", 1, true),
            ("", 4_999, true),
            ("", 5_000, false),
            ("until=tomorrow", 1, true),
        ] {
            assert_eq!(obsolete(words, now), expected, "{words} at {now}");
        }
    }

    #[test]
    fn what_was_made_on_request_is_not_replaced_at_once_for_an_announcement() {
        let end = "until=1970-01-01T02:46:40Z";
        let obsolete = |words: &str, asked, now| {
            RenewalHint::parse(words).obsolete(&leaf(), at(0), asked, at(now)).is_some()
        };
        assert!(!obsolete(end, false, 1) && obsolete(end, true, 1) && !obsolete(end, true, 5_000));
        assert!(!obsolete(&format!("{end} revoked"), true, 1), "unless it must not be used any more");
    }

    #[test]
    fn a_notice_comes_back_from_its_words() {
        let notice = RenewalHint::new(Some(at(3600)), Some("00:0A:bc"));
        assert_eq!(notice.words(), "until=1970-01-01T01:00:00Z serial=abc");
        assert_eq!(RenewalHint::parse(&notice.words()), notice);
        let revoked = RenewalHint { revoked: true, ..notice };
        assert_eq!(RenewalHint::parse(&revoked.words()), revoked);
        assert_eq!(RenewalHint::parse(&RenewalHint::default().words()), RenewalHint::default());
    }
}
