//! Moments as people and objects read them: RFC 3339, UTC. A certificate may say anything, so a moment
//! that cannot be written down becomes the nearest one that can.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, format_rfc3339_seconds};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;

/// The last second of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

pub fn seconds(at: SystemTime) -> String {
    format_rfc3339_seconds(writable(at)).to_string()
}

pub fn millis(at: SystemTime) -> String {
    format_rfc3339_millis(writable(at)).to_string()
}

/// RFC 3339 or ISO 8601, with or without a fraction and a time zone; `None` for anything else. A date before 1970 becomes 1970.
pub fn parse(text: &str) -> Option<SystemTime> {
    // Timestamps of jiff end a day before the year 9999 does, and a certificate without an end is valid until that.
    if let Ok(at) = humantime::parse_rfc3339(text) {
        return Some(at);
    }
    let at: Timestamp = match text.parse() {
        Ok(at) => at,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    SystemTime::from(at).max(UNIX_EPOCH).into()
}

fn writable(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_however_it_is_written() {
        let expected = Some(UNIX_EPOCH + Duration::from_secs(1_600_000_000));
        for text in [
            "2020-09-13T12:26:40Z",
            "2020-09-13T14:26:40+02:00",
            "2020-09-13T12:26:40.000Z",
            "2020-09-13T12:26:40",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        for text in ["", "tomorrow", "1600000000", "2020-13-13T12:26:40Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59Z"), Some(UNIX_EPOCH));
    }

    #[test]
    fn what_is_written_down_is_read() {
        // RFC 5280, 4.1.2.5: what has no end is valid until the last second of 9999.
        for at in [UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1_600_000_000), UNIX_EPOCH + LAST] {
            assert_eq!((parse(&seconds(at)), parse(&millis(at))), (Some(at), Some(at)));
        }
    }

    #[test]
    fn whatever_a_certificate_says_can_be_written_down() {
        let year = Duration::from_secs(366 * 24 * 60 * 60);
        assert_eq!(seconds(UNIX_EPOCH - 10 * year), "1970-01-01T00:00:00Z");
        assert_eq!(seconds(UNIX_EPOCH + 9000 * year), "9999-12-31T23:59:59Z");
        assert_eq!(millis(UNIX_EPOCH + Duration::from_millis(1)), "1970-01-01T00:00:00.001Z");
    }
}
