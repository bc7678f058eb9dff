//! What the failed handshakes of each source have used of its budget.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::fair_limiter::Source;

/// Handshakes of one source that may be under way or have failed at once: enough for the clients behind one address
/// that all connect again at the same moment, and for a thread the work of a tenth of a second.
const BURST: f64 = 500.0;
/// Failures of one source that are forgiven each second: some hundredths of a thread.
const FORGIVEN_PER_SECOND: f64 = 100.0;
/// Beyond so many sources with failures, those of a new source are not recorded: with so many the budget of each
/// would bound nothing.
const MAX_SOURCES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Failures {
    charged: HashMap<Source, Charge>,
    /// The last two sources that completed a handshake.
    served: [Option<Source>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Charge {
    handshakes: f64,
    as_of: Instant,
}

impl Charge {
    /// What is left of it.
    fn at(self, now: Instant) -> f64 {
        let forgiven = now.saturating_duration_since(self.as_of).as_secs_f64() * FORGIVEN_PER_SECOND;
        (self.handshakes - forgiven).max(0.0)
    }
}

impl Failures {
    /// Charges a handshake that begins to its source. False if it must not begin, since its source has used its
    /// budget and there are others to serve.
    pub fn admit(&mut self, source: Source, now: Instant) -> bool {
        let charged = self.charged.get(&source).map_or(0.0, |charge| charge.at(now));
        if charged + 1.0 > BURST {
            // Without others nobody has an advantage from turning it away.
            return !self.served.iter().flatten().any(|served| *served != source);
        }
        self.set(source, charged + 1.0, now);
        true
    }

    /// A handshake of this source was completed: what it was charged is paid back.
    pub fn succeeded(&mut self, source: Source, now: Instant) {
        if let Some(charge) = self.charged.get(&source) {
            self.set(source, charge.at(now) - 1.0, now);
        }
        if self.served[0] != Some(source) {
            self.served = [Some(source), self.served[0]];
        }
    }

    fn set(&mut self, source: Source, handshakes: f64, now: Instant) {
        if handshakes <= 0.0 {
            self.charged.remove(&source);
            if self.charged.is_empty() {
                self.charged.shrink_to(64);
            }
            return;
        }
        if self.charged.len() >= MAX_SOURCES && !self.charged.contains_key(&source) {
            self.charged.retain(|_, charge| charge.at(now) > 0.0);
            if self.charged.len() >= MAX_SOURCES {
                return;
            }
        }
        self.charged.insert(source, Charge { handshakes, as_of: now });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ATTACKER: Source = Source::V4(1);
    const CLIENT: Source = Source::V4(2);

    fn admitted(failures: &mut Failures, source: Source, attempts: usize, now: Instant) -> usize {
        (0..attempts).filter(|_| failures.admit(source, now)).count()
    }

    #[test]
    fn source_that_fails_is_turned_away_beyond_its_budget_and_others_are_not() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.succeeded(CLIENT, now);
        assert_eq!(admitted(&mut failures, ATTACKER, 44_000, now), BURST as usize);
        assert_eq!(admitted(&mut failures, CLIENT, 100, now), 100);
        let later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut failures, ATTACKER, 44_000, later), FORGIVEN_PER_SECOND as usize);
        // What was turned away is not charged.
        let recovered = later + Duration::from_secs(10);
        assert_eq!(admitted(&mut failures, ATTACKER, 44_000, recovered), BURST as usize);
    }

    #[test]
    fn source_alone_is_never_turned_away() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(admitted(&mut failures, ATTACKER, 44_000, now), 44_000);
        failures.succeeded(ATTACKER, now);
        assert_eq!(admitted(&mut failures, ATTACKER, 44_000, now), 44_000);
    }

    #[test]
    fn handshakes_that_succeed_cost_their_source_nothing() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.succeeded(ATTACKER, now);
        for _ in 0..10_000 {
            assert!(failures.admit(CLIENT, now));
            failures.succeeded(CLIENT, now);
        }
        assert!(failures.charged.is_empty());
    }

    #[test]
    fn number_of_sources_is_bounded_and_those_that_have_recovered_make_room() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for source in 0..3 * MAX_SOURCES as u32 {
            assert!(failures.admit(Source::V4(source), now));
        }
        assert_eq!(failures.charged.len(), MAX_SOURCES);
        failures.admit(Source::V6(7), now + Duration::from_secs(1));
        assert_eq!(failures.charged.len(), 1);
    }
}
