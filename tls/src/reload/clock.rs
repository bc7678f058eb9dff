//! Jumps of the wall clock, by which certificates are judged: it is compared with the time since the machine was booted,
//! which nobody sets and which goes on while the machine is suspended.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Clocks are adjusted by less than this all the time.
const TOLERATED: Duration = Duration::from_secs(2);

/// The time since the machine was booted.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A jump of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    pub forwards: bool,
    pub by: Duration,
}

/// Compares two clocks at two moments.
#[derive(Default)]
pub struct ClockWatch(Option<(SystemTime, Duration)>);

impl ClockWatch {
    /// The jump since the last look, if there was one.
    pub fn look(&mut self, wall: SystemTime, since_boot: Duration) -> Option<Jump> {
        let (last_wall, last_boot) = self.0.replace((wall, since_boot))?;
        let expected = last_wall + since_boot.saturating_sub(last_boot);
        let (forwards, by) = match wall.duration_since(expected) {
            Ok(ahead) => (true, ahead),
            Err(behind) => (false, behind.duration()),
        };
        (by > TOLERATED).then_some(Jump { forwards, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_told_from_the_passing_of_time() {
        let (begin, second) =
            (SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), Duration::from_secs(1));
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(begin, second), None);
        assert_eq!(watch.look(begin + 3600 * second, 3601 * second), None, "suspended, or nothing to do");
        assert_eq!(watch.look(begin + 3601 * second, 3603 * second), None, "adjusted");
        let back = Jump { forwards: false, by: 1800 * second };
        assert_eq!(watch.look(begin + 1802 * second, 3604 * second), Some(back));
        let forwards = Jump { forwards: true, by: 1800 * second };
        assert_eq!(watch.look(begin + 3603 * second, 3605 * second), Some(forwards));
        assert_eq!(watch.look(begin + 3604 * second, 3606 * second), None, "said once");
    }
}
