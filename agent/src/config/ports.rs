//! The ports of the agent that are the same in every pod, so that what connects from outside needs no
//! configuration.

/// Plain HTTP without secrets: health, readiness, metrics.
pub const ADMIN: u16 = 9640;
/// mTLS: what is served and trusted, for every client that the trust bundle verifies.
pub const PROOF: u16 = 9643;
