//! Proof by handshake: what a pod serves and which clients it accepts, seen from outside. The control plane
//! is a client of the pod's proof listener, once under each root in question.
//!
//! | module | what it is |
//! |---|---|
//! | `client_certificate` | the control plane's own certificate under a root |
//! | `client_config` | the TLS configuration of a client that presents it, and of one that presents none |
//! | `handshake` | one connection to a pod, and its result |
//! | `prober` | all connections that one proof takes |
//! | `schedule` | the last proof of each pod, and when the pod is probed again |
//!
//! A proof contains what was seen and nothing else. A client is accepted if its request is answered; it is
//! rejected if the pod, after it has proved its own identity, reports that it does not trust the certificate.
//! Everything else is an error, which proves nothing.

mod client_certificate;
mod client_config;
mod handshake;
mod prober;
mod schedule;

pub use client_certificate::ClientError;
pub use handshake::{ProbeError, TIMEOUT};
pub use prober::{PROBER, Prober, ProofError};
pub use schedule::{MAX_CONCURRENT, ProbeKey, ProofSchedule};

#[cfg(test)]
mod tests;
