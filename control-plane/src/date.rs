//! Moments as people and objects read them: RFC 3339, UTC. A certificate may say anything, so a moment
//! that cannot be written down becomes the nearest one that can.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, format_rfc3339_seconds};

/// The last second of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

pub fn seconds(at: SystemTime) -> String {
    format_rfc3339_seconds(writable(at)).to_string()
}

pub fn millis(at: SystemTime) -> String {
    format_rfc3339_millis(writable(at)).to_string()
}

fn writable(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_certificate_says_can_be_written_down() {
        let year = Duration::from_secs(366 * 24 * 60 * 60);
        assert_eq!(seconds(UNIX_EPOCH - 10 * year), "1970-01-01T00:00:00Z");
        assert_eq!(seconds(UNIX_EPOCH + 9000 * year), "9999-12-31T23:59:59Z");
        assert_eq!(millis(UNIX_EPOCH + Duration::from_millis(1)), "1970-01-01T00:00:00.001Z");
    }
}
