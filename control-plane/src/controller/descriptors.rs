//! File descriptors: webhook, receiver and admin may have more connections than the usual soft limit of 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the soft limit to the hard limit.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, soft_limit = limit.current, "cannot raise the limit of file descriptors");
    }
}

/// How many connections a listener may have: `wanted`, or a quarter of the descriptors. So what fills one listener
/// leaves descriptors for the others and for the controller itself.
pub fn share_of_listener(wanted: usize) -> usize {
    share(wanted, getrlimit(Resource::Nofile).current)
}

fn share(wanted: usize, descriptors: Option<u64>) -> usize {
    let quarter = descriptors.map_or(usize::MAX, |all| usize::try_from(all / 4).unwrap_or(usize::MAX));
    wanted.min(quarter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn soft_limit_is_raised_to_the_hard_limit() {
        let hard = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum: hard }).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn listener_leaves_descriptors_for_the_others() {
        assert_eq!(share(1024, None), 1024);
        assert_eq!(share(1024, Some(1 << 20)), 1024);
        assert_eq!(share(1024, Some(1024)), 256);
    }
}
