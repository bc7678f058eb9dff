//! Durations as people write them: `90d`, `36h`, `10m`, `1d 30m`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// Up to this count a duration has one unit: `90m`, `36h`.
const MAX_IN_ONE_UNIT: u64 = 999;

/// Exact to the millisecond, in one unit if that is short; `parse` reads it back.
pub fn format(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if millis > 0 {
        return format!("{}ms", duration.as_millis());
    }
    let single = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit) && seconds > 0);
    if let Some((name, unit)) = single
        && (*name == "d" || seconds / unit <= MAX_IN_ONE_UNIT)
    {
        return format!("{}{name}", seconds / unit);
    }
    let (mut rest, mut parts) = (seconds, Vec::new());
    for (name, unit) in UNITS {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// A number and a unit, or several of them.
pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is not a duration: write a number and a unit, such as 30s, 10m, 36h or 90d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_short_and_exact() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "90s"),
            (300, "5m"),
            (5_400, "90m"),
            (86_400, "1d"),
            (36 * 3_600, "36h"),
            (100 * 3_600, "100h"),
            (90 * 86_400, "90d"),
            (365 * 86_400, "365d"),
            (89 * 86_400 + 12 * 3_600, "89d 12h"),
            (86_400 + 61, "1d 1m 1s"),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Ok(duration));
        }
        assert_eq!(format(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn a_malformed_duration_is_rejected_with_examples() {
        for text in ["", "90", "soon", "5 parsecs", "-1d"] {
            assert!(parse(text).is_err_and(|error| error.contains("such as 30s, 10m, 36h or 90d")), "{text}");
        }
    }
}
