//! Until when a replica leads, and when it has to try again. Pure: time is an argument, so that it can be shown that
//! no request and no pause carries a leader past its deadline.

use std::time::{Duration, Instant};

/// A leader that could not renew for this long stops, before another replica begins.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two renewals.
const RENEW_INTERVAL: Duration = Duration::from_secs(4);
/// After an attempt that failed, and between two reads of a lease that another replica holds.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub struct Term {
    /// The start of the attempt that renewed the lease last. Other replicas count from the write, which is later.
    renewed: Option<Instant>,
}

/// What an attempt to acquire or renew the lease came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Acquired,
    HeldByOther,
    /// Or it did not end in time.
    Failed,
}

impl Term {
    pub fn leads(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// When an attempt that begins now is given up: leading ends while a request hangs, and not after it.
    pub fn attempt_ends(&self, now: Instant) -> Instant {
        self.no_later_than_deadline(now, now + REQUEST_TIMEOUT)
    }

    pub fn record(&mut self, began: Instant, attempt: Attempt) {
        match attempt {
            Attempt::Acquired => self.renewed = Some(began),
            Attempt::HeldByOther => self.renewed = None,
            Attempt::Failed => {}
        }
    }

    /// When the next attempt begins, or leading ends.
    pub fn pause_ends(&self, now: Instant, attempt: Attempt) -> Instant {
        // Counted from the renewal, so that slow answers leave as much time to the next one.
        let renewal = self.renewed.filter(|_| attempt == Attempt::Acquired);
        let end = renewal.map_or(now + RETRY_INTERVAL, |renewed| renewed + RENEW_INTERVAL);
        self.no_later_than_deadline(now, end.max(now))
    }

    /// A deadline that has passed is none: a replica that does not lead has time.
    fn no_later_than_deadline(&self, now: Instant, end: Instant) -> Instant {
        self.deadline().filter(|deadline| now < *deadline).map_or(end, |deadline| end.min(deadline))
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.renewed? + RENEW_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HANGS: Duration = Duration::from_secs(3600);

    /// The replica's loop with attempts that take so long and end so: when it renewed last, and when it noticed that
    /// it leads no more.
    fn run(attempts: impl IntoIterator<Item = (Duration, Attempt)>) -> Option<(Instant, Instant)> {
        let (mut term, mut now, mut renewed) = (Term::default(), Instant::now(), None);
        for (takes, attempt) in attempts {
            let (began, end) = (now, term.attempt_ends(now));
            let attempt = if began + takes < end { attempt } else { Attempt::Failed };
            now = end.min(began + takes);
            term.record(began, attempt);
            if attempt == Attempt::Acquired {
                renewed = Some(began);
            }
            // The flag is set after an attempt and after a pause.
            for at in [now, term.pause_ends(now, attempt)] {
                now = at;
                if let (Some(renewed), false) = (renewed, term.leads(now)) {
                    return Some((renewed, now));
                }
            }
        }
        None
    }

    fn then_always(
        first: Vec<(Duration, Attempt)>,
        last: (Duration, Attempt),
    ) -> impl Iterator<Item = (Duration, Attempt)> {
        first.into_iter().chain(std::iter::repeat_n(last, 100))
    }

    #[test]
    fn leader_that_renews_in_time_leads_on() {
        for takes in [0, 1, 3] {
            let attempt = (Duration::from_secs(takes), Attempt::Acquired);
            assert_eq!(run(then_always(vec![], attempt)), None, "{takes} s a request");
        }
    }

    proptest! {
        #[test]
        fn leader_notices_its_deadline_when_it_comes_however_requests_fail(
            before in proptest::collection::vec(0_u64..4_000, 1..5),
            failing in proptest::collection::vec(0_u64..6_000, 0..8),
            at_last in prop_oneof![Just(Duration::ZERO), Just(HANGS)],
        ) {
            let millis = |attempt: Attempt| move |takes| (Duration::from_millis(takes), attempt);
            let first = before.into_iter().map(millis(Attempt::Acquired));
            let first = first.chain(failing.into_iter().map(millis(Attempt::Failed))).collect();
            let (renewed, noticed) = run(then_always(first, (at_last, Attempt::Failed))).expect("it stops leading");
            prop_assert_eq!(noticed, renewed + RENEW_DEADLINE);
        }
    }

    #[test]
    fn replica_that_lost_the_lease_stops_at_once_and_asks_with_time_enough() {
        let (mut term, began) = (Term::default(), Instant::now());
        term.record(began, Attempt::Acquired);
        assert!(term.leads(began));
        term.record(began, Attempt::HeldByOther);
        assert!(!term.leads(began));
        term.record(began, Attempt::Acquired);
        let late = began + RENEW_DEADLINE;
        assert!(!term.leads(late));
        assert_eq!(term.attempt_ends(late), late + REQUEST_TIMEOUT);
        assert_eq!(term.pause_ends(late, Attempt::Failed), late + RETRY_INTERVAL);
    }
}
