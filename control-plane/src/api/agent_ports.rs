//! The ports on which every agent listens by default, so that what connects to a pod needs no configuration.

/// Plain HTTP without secrets: health, readiness, metrics. The agent listens there by default.
pub const ADMIN: u16 = 9640;
/// mTLS: what is served and trusted, for every client that the trust bundle verifies. The agent listens there by
/// default.
pub const PROOF: u16 = 9643;
