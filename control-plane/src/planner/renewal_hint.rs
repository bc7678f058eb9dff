//! What an external source reports about a certificate or a root: a hint that it expires or is revoked. It is
//! stored with the object as a request and compared with the certificate that exists by then, so a hint that
//! is late or repeated changes nothing.

mod pending;
mod target;

use std::time::{Duration, SystemTime};

use crate::api::date;

pub use pending::{Added, PendingHints, SentHint};
pub use target::{CERTIFICATE_PAUSE, NOTICED, ROOT_PAUSE, Target};

/// Sources give dates in seconds, rounded up or down.
const ROUNDING: Duration = Duration::from_secs(1);
const REVOKED: &str = "revoked";
/// Hex digits. A serial number of X.509 has 40 at most.
const MAX_SERIAL: usize = 128;

/// Which certificate is meant, as far as the source identifies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenewalHint {
    /// When the certificate expires.
    pub not_after: Option<SystemTime>,
    /// Hex digits only, without leading zeros.
    pub serial: Option<String>,
    /// It must not be used any more, although it is still valid.
    pub revoked: bool,
}

/// Why a hint does not have a certificate replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEffect {
    Obsolete(String),
    /// It is a revocation that comes too soon after another.
    TooSoon(String),
}

impl RenewalHint {
    pub fn new(not_after: Option<SystemTime>, serial: Option<&str>) -> Self {
        let serial = serial.map(normalize).filter(|serial| !serial.is_empty());
        Self { not_after, serial, revoked: false }
    }

    /// From the arguments of a request. What cannot be read is ignored.
    pub fn parse(arguments: &str) -> Self {
        let word = |key: &str| arguments.split_whitespace().find_map(|word| word.strip_prefix(key));
        let revoked = arguments.split_whitespace().any(|word| word == REVOKED);
        Self { revoked, ..Self::new(word("until=").and_then(date::parse), word("serial=")) }
    }

    /// As the arguments of a request.
    pub fn to_arguments(&self) -> String {
        let until = self.not_after.map(|until| format!("until={}", date::seconds(until)));
        let serial = self.serial.as_ref().map(|serial| format!("serial={serial}"));
        let revoked = self.revoked.then(|| REVOKED.to_owned());
        until.into_iter().chain(serial).chain(revoked).collect::<Vec<_>>().join(" ")
    }

    /// Why the hint does not replace this certificate. A source that reports every certificate which expires within a
    /// month would otherwise have a certificate with a lifetime of a month replaced without end.
    pub fn no_effect(&self, target: &Target, now: SystemTime) -> Option<NoEffect> {
        let Target { leaf, since, requested, paused } = target;
        let obsolete = |why: String| Some(NoEffect::Obsolete(why));
        let end = date::seconds(leaf.not_after);
        if let Some(until) = self.not_after
            && leaf.not_after > until.checked_add(ROUNDING).unwrap_or(until)
        {
            return obsolete(format!(
                "it is valid until {end}, later than the notification says: it was replaced since"
            ));
        }
        if let Some(until) = self.not_after
            && until > leaf.not_after.checked_add(ROUNDING).unwrap_or(until)
        {
            return obsolete(format!(
                "it is valid until {end}: the notification is about one that is valid longer"
            ));
        }
        if let Some(serial) = &self.serial
            && *serial != normalize(&leaf.serial)
        {
            return obsolete(format!("its serial is {}: the notification is about another one", leaf.serial));
        }
        let lifetime = leaf.not_after.duration_since(*since).unwrap_or_default();
        let is_young = now < since.checked_add(lifetime / 2).unwrap_or(now);
        if self.not_after.is_none() && self.serial.is_none() && is_young {
            let said = "is in the first half of its life, and the notification does not name one by serial or end of validity";
            return obsolete(format!("it is valid until {end}, {said}"));
        }
        if let Some((until, why)) = paused
            && self.revoked
            && now < *until
        {
            return Some(NoEffect::TooSoon(why.clone()));
        }
        if *requested && is_young && !self.revoked {
            let said = "it was replaced before its time and is in the first half of its life";
            return obsolete(format!("it is valid until {end}, {said}: it is too early for another"));
        }
        None
    }
}

impl NoEffect {
    pub fn why(self) -> String {
        match self {
            Self::Obsolete(why) | Self::TooSoon(why) => why,
        }
    }
}

/// Some sources leave out the zero of an octet: `1:a:ff` is `01:0a:ff`.
fn normalize(serial: &str) -> String {
    let octets = serial.split(':').map(|octet| octet.chars().filter(char::is_ascii_hexdigit));
    let octets = octets.map(|digits| format!("{:0>2}", digits.take(128).collect::<String>()));
    let digits: String = octets.take(64).collect();
    digits.trim_start_matches('0').chars().take(MAX_SERIAL).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::pki::x509_facts::Leaf;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn leaf() -> Leaf {
        Leaf { sha256: "ab".into(), serial: "0a:BC".into(), not_before: at(0), not_after: at(10_000) }
    }

    fn target(requested: bool) -> Target {
        Target { leaf: leaf(), since: at(0), requested, paused: None }
    }

    #[test]
    fn a_hint_counts_only_for_the_certificate_that_it_identifies() {
        let obsolete =
            |words: &str, now| RenewalHint::parse(words).no_effect(&target(false), at(now)).is_some();
        for (words, now, expected) in [
            ("until=1970-01-01T02:46:40Z", 1, false),
            ("until=1970-01-01T02:46:39Z", 1, false),
            ("until=1970-01-01T02:46:38Z", 1, true),
            ("until=1971-01-01T00:00:00Z", 1, true),
            ("serial=abc", 1, false),
            ("serial=00:0A:BC", 1, false),
            ("serial=a:bc", 1, false),
            ("serial=0:a:bc", 1, false),
            ("serial=ab:c", 1, true),
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
    fn a_certificate_issued_on_request_is_not_replaced_in_the_first_half_of_its_lifetime_unless_revoked() {
        let end = "until=1970-01-01T02:46:40Z";
        let obsolete =
            |words: &str, asked, now| RenewalHint::parse(words).no_effect(&target(asked), at(now)).is_some();
        assert!(!obsolete(end, false, 1) && obsolete(end, true, 1) && !obsolete(end, true, 5_000));
        assert!(!obsolete(&format!("{end} revoked"), true, 1), "unless it must not be used any more");
    }

    #[test]
    fn a_revocation_that_comes_soon_after_another_is_told_from_one_that_is_obsolete() {
        let paused = Target { paused: Some((at(100), "later".into())), ..target(true) };
        let no_effect = |words: &str, now| RenewalHint::parse(words).no_effect(&paused, at(now));
        assert_eq!(no_effect("serial=abc revoked", 99), Some(NoEffect::TooSoon("later".into())));
        assert_eq!(no_effect("serial=abc revoked", 100), None);
        for obsolete in ["serial=abd revoked", "revoked", "serial=abc"] {
            assert!(matches!(no_effect(obsolete, 99), Some(NoEffect::Obsolete(_))), "{obsolete}");
        }
        assert_eq!(no_effect("serial=abc", 5_000), None, "it holds up no expiry");
    }

    #[test]
    fn octets_of_a_serial_are_padded() {
        for (given, normal) in [
            ("1:a:ff", "10aff"),
            ("01:0a:ff", "10aff"),
            ("010AFF", "10aff"),
            ("1:2:3:4", "1020304"),
            ("a:0:1", "a0001"),
            ("0:0", ""),
        ] {
            assert_eq!(normalize(given), normal, "{given}");
        }
    }

    #[test]
    fn a_hint_is_parsed_from_its_arguments() {
        let hint = RenewalHint::new(Some(at(3600)), Some("00:0A:bc"));
        assert_eq!(hint.to_arguments(), "until=1970-01-01T01:00:00Z serial=abc");
        assert_eq!(RenewalHint::parse(&hint.to_arguments()), hint);
        let revoked = RenewalHint { revoked: true, ..hint };
        assert_eq!(RenewalHint::parse(&revoked.to_arguments()), revoked);
        assert_eq!(RenewalHint::parse(&RenewalHint::default().to_arguments()), RenewalHint::default());
    }
}
