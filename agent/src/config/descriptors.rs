//! File descriptors: how many this process may have, and how many connections they are enough for. Running out of
//! them is not an error of any one connection, so what is asked for is compared with the limit at start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything but connections: listeners, runtimes, the source, and the few connections that gave way to new ones
/// and are not closed yet.
const OTHERS: u64 = 64;
/// Connections of the admin listener, and as many of the proof listener: kubelet, a scraper and the control plane need
/// few. With few descriptors there are fewer places, which are shared between sources all the same.
const MAX_ADMIN: u64 = 256;
const MIN_ADMIN: u64 = 20;
/// The client of the admin listener, the app that it probes, and the client of the proof listener.
const PER_ADMIN: u64 = 3;
/// By default, with so many descriptors the admin listener has one place less than its most.
const DESCRIPTORS_PER_ADMIN: u64 = 64;
/// The client and the app, or the app and the server.
const PER_CONNECTION: u64 = 2;
/// Of all connections, one in so many may be in its handshake besides.
const HANDSHAKE_SHARE: u64 = 4;
/// As many handshakes at least, where there are descriptors for them, so that a burst of clients fits into few places.
const MIN_HANDSHAKES: u64 = 256;
/// And as many as connections up to this, so that all clients may connect again at once, as after a restart. More than
/// these are in the kernel's backlog.
const MAX_EXTRA_HANDSHAKES: u64 = 4096;
/// By default no more connections than this.
const MAX_DEFAULT: u64 = 100_000;

/// What the descriptors of this process are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    pub connections: usize,
    /// Clients whose handshake is not complete, beside the connections.
    pub handshakes: usize,
    /// Connections of the admin listener, and of the proof listener.
    pub admin: usize,
}

/// The kernel has no higher limit.
const MOST: u64 = u32::MAX as u64;

/// Raises the soft limit to the hard limit, and returns how many descriptors this process may have.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    available.unwrap_or(u64::MAX)
}

impl Descriptors {
    /// For as many connections as `available` descriptors are enough for beside what else is good to have, up to a
    /// bound.
    pub fn by_default(available: u64) -> Result<Self, TooFewDescriptors> {
        let available = available.min(MOST);
        let admin = (available / DESCRIPTORS_PER_ADMIN).clamp(MIN_ADMIN, MAX_ADMIN);
        let rest = available.saturating_sub(OTHERS + PER_ADMIN * admin);
        // With very few descriptors, connections take half of them.
        let few = (rest.saturating_sub(MIN_HANDSHAKES) / PER_CONNECTION).max(rest / (2 * PER_CONNECTION));
        let connections = few.min(rest * HANDSHAKE_SHARE / (PER_CONNECTION * HANDSHAKE_SHARE + 1));
        Self::of(connections.clamp(1, MAX_DEFAULT), available)
    }

    /// For so many connections, if `available` descriptors are enough for them.
    pub fn for_connections(connections: usize, available: u64) -> Result<Self, TooFewDescriptors> {
        Self::of(connections as u64, available.min(MOST))
    }

    fn of(connections: u64, available: u64) -> Result<Self, TooFewDescriptors> {
        let too_few = TooFewDescriptors { connections, available };
        let mut rest = available.checked_sub(needed(connections)).ok_or(too_few)?;
        let mut take = |wanted: u64| {
            let taken = wanted.min(rest);
            rest -= taken;
            taken
        };
        let share = connections / HANDSHAKE_SHARE;
        let at_least = share + take(MIN_HANDSHAKES.saturating_sub(share));
        let admin = MIN_ADMIN + take(PER_ADMIN * (MAX_ADMIN - MIN_ADMIN)) / PER_ADMIN;
        let all_at_once = connections.min(MAX_EXTRA_HANDSHAKES);
        let handshakes = at_least + take(all_at_once.saturating_sub(at_least));
        let number = |count: u64| usize::try_from(count).map_err(|_| too_few);
        Ok(Self { connections: number(connections)?, handshakes: number(handshakes)?, admin: number(admin)? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{connections} connections need {needed} file descriptors, and this process may have {available}{fit}raise its \
     hard limit (ulimit -Hn, LimitNOFILE of systemd) to {needed} or more",
    needed = needed(*connections),
    fit = what_fits(*available)
)]
pub struct TooFewDescriptors {
    connections: u64,
    available: u64,
}

fn what_fits(available: u64) -> String {
    match largest(available) {
        0 => ", too few for any; ".into(),
        fit => format!(", enough for {fit}; give {fit} or less, or "),
    }
}

/// What so many connections need at least.
fn needed(connections: u64) -> u64 {
    let handshakes = connections / HANDSHAKE_SHARE;
    PER_CONNECTION.saturating_mul(connections).saturating_add(handshakes + OTHERS + PER_ADMIN * MIN_ADMIN)
}

/// The most connections that do not need more than `available`.
fn largest(available: u64) -> u64 {
    let rest = available.saturating_sub(needed(0));
    let mut connections = rest * HANDSHAKE_SHARE / (PER_CONNECTION * HANDSHAKE_SHARE + 1);
    // A share is rounded down.
    while needed(connections + 1) <= available {
        connections += 1;
    }
    connections
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn used(descriptors: Descriptors) -> u64 {
        let Descriptors { connections, handshakes, admin } = descriptors;
        PER_CONNECTION * connections as u64 + handshakes as u64 + PER_ADMIN * admin as u64 + OTHERS
    }

    #[test]
    fn as_many_connections_fit_as_do_not_need_more() {
        for available in (0..5000).chain([65_536, 1 << 20]) {
            let fit = largest(available);
            assert!(needed(fit + 1) > available, "{available}");
            let most = Descriptors::for_connections(fit as usize, available);
            assert!(most.map(used).unwrap_or_default() <= available, "{available}: {most:?}");
            let too_many = TooFewDescriptors { connections: fit + 1, available };
            assert_eq!(Descriptors::for_connections(fit as usize + 1, available), Err(too_many));
            match Descriptors::by_default(available) {
                Ok(default) => assert!(used(default) <= available, "{available}: {default:?}"),
                Err(error) => assert_eq!((error, fit), (TooFewDescriptors { connections: 1, available }, 0)),
            }
        }
    }

    #[test]
    fn admin_and_proof_and_handshakes_have_what_connections_leave() {
        let allotted = |connections, available| {
            let Descriptors { handshakes, admin, .. } =
                Descriptors::for_connections(connections, available).unwrap();
            (handshakes, admin)
        };
        // 1,024 descriptors, which are enough for 400 connections and the least of the others.
        assert_eq!(allotted(400, 1024), (100, 20));
        assert_eq!(allotted(322, 1024), (256, 20));
        assert_eq!(allotted(200, 1024), (256, 101));
        assert_eq!(allotted(5, u64::MAX), (256, 256));
        assert_eq!(allotted(3000, u64::MAX), (3000, 256));
        assert_eq!(allotted(100_000, u64::MAX), (25_000, 256));
        let default = |available| Descriptors::by_default(available).unwrap();
        assert_eq!(default(1024), Descriptors { connections: 322, handshakes: 256, admin: 20 });
        assert_eq!(default(4096), Descriptors { connections: 1706, handshakes: 426, admin: 64 });
        assert_eq!(default(256), Descriptors { connections: 33, handshakes: 66, admin: 20 });
        assert_eq!(default(u64::MAX), Descriptors { connections: 100_000, handshakes: 25_000, admin: 256 });
    }

    #[test]
    fn soft_limit_is_raised_to_the_hard_limit() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit { current: Some(512), maximum: hard };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(raise_limit(), hard.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
