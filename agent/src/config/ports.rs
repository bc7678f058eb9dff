//! The ports of the agent that are the same in every pod, so that what looks at it from outside
//! need not be told.

/// Plain HTTP, no secrets: health, readiness, metrics.
pub const ADMIN: u16 = 9640;
/// mTLS: what is served and trusted, for whoever can shake hands.
pub const PROOF: u16 = 9643;
