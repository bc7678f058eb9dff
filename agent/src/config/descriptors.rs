//! File descriptors: how many this process may have, and how many connections they are enough for. Running out of
//! them is not an error of any one connection, so what is asked for is compared with the limit at start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything but connections of the app and its peers: listeners, runtimes, the source, admin and proof, and the few
/// connections that gave way to new ones and are not closed yet.
const SPARE: u64 = 128;
/// The client and the app, or the app and the server.
const PER_CONNECTION: u64 = 2;
/// Of all connections, one in so many may be in its handshake besides.
const HANDSHAKE_SHARE: usize = 4;
const MIN_HANDSHAKES: usize = 256;
/// By default no more connections than this.
const MAX_DEFAULT: usize = 100_000;

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

/// Clients whose handshake is not complete, beside so many connections.
pub fn max_handshakes(connections: usize) -> usize {
    (connections / HANDSHAKE_SHARE).max(MIN_HANDSHAKES)
}

/// As many connections as `available` descriptors are enough for, up to a bound.
pub fn default_connections(available: u64) -> Result<usize, TooFewDescriptors> {
    match largest(available).min(MAX_DEFAULT) {
        0 => Err(TooFewDescriptors { connections: 1, available }),
        connections => Ok(connections),
    }
}

/// `connections`, if `available` descriptors are enough for them.
pub fn check(connections: usize, available: u64) -> Result<usize, TooFewDescriptors> {
    if needed(connections) <= available {
        Ok(connections)
    } else {
        Err(TooFewDescriptors { connections, available })
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
    connections: usize,
    available: u64,
}

fn what_fits(available: u64) -> String {
    match largest(available) {
        0 => ", too few for any; ".into(),
        fit => format!(", enough for {fit}; give {fit} or less, or "),
    }
}

fn needed(connections: usize) -> u64 {
    let handshakes = max_handshakes(connections) as u64;
    PER_CONNECTION.saturating_mul(connections as u64).saturating_add(handshakes).saturating_add(SPARE)
}

/// The most connections that do not need more than `available`.
fn largest(available: u64) -> usize {
    // The kernel has no higher limit.
    let available = available.min(u64::from(u32::MAX));
    let rest = available.saturating_sub(SPARE);
    let share = HANDSHAKE_SHARE as u64;
    // With the least number of handshakes, or with a share of the connections.
    let few = rest.saturating_sub(MIN_HANDSHAKES as u64) / PER_CONNECTION;
    let many = rest * share / (PER_CONNECTION * share + 1);
    let mut connections = usize::try_from(few.min(many)).unwrap_or(0);
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

    #[test]
    fn as_many_connections_fit_as_do_not_need_more() {
        for available in (0..5000).chain([65_536, 1 << 20]) {
            let fit = largest(available);
            assert!(fit == 0 || needed(fit) <= available, "{available}");
            assert!(needed(fit + 1) > available, "{available}");
        }
        assert_eq!(default_connections(u64::MAX), Ok(MAX_DEFAULT));
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
