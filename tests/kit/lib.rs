//! The test kit: what a scenario is made of. A `Pki` issues, a `Volume` is what kubelet would mount,
//! an `Agent` is the real program, an `Echo` or an `App` is the service behind it, and clients are
//! programs that are not ours (OpenSSL, curl, Python). An `ApiServer` is Kubernetes' own. Everything is
//! waited for with a deadline, every port is free, and everything a scenario makes is
//! gone when it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod agent;
pub mod alertmanager;
pub mod app;
pub mod chain_cases;
pub mod chains;
pub mod client;
pub mod clock;
pub mod connect_proxy;
pub mod crashing_store;
pub mod dialer;
pub mod echo;
pub mod exchanges;
pub mod flood;
pub mod forge;
pub mod fuzzing;
pub mod hanging;
pub mod haproxy;
pub mod http1;
pub mod http2;
pub mod installed;
pub mod kube;
pub mod line;
pub mod link;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod nginx;
pub mod own;
pub mod pipe;
pub mod pki;
pub mod random;
pub mod reference;
pub mod revocation;
pub mod scene;
pub mod silent;
pub mod smuggling;
pub mod store;
pub mod volume;
pub mod webhook;

use std::time::{Duration, Instant};

/// How long anything may take that should happen at once, on a machine busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer. Panics with `what` at the deadline.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask)
}

#[track_caller]
pub fn within<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(4));
    }
}
