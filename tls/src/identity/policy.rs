//! What an identity is needed for, which decides which shortcomings of a candidate matter.

use std::time::Duration;

use crate::san_pattern::SanPattern;

/// What an identity is needed for.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The leaf is a public server certificate: its root need not be in the bundle, and a bundle need not
    /// exist.
    pub public_server: bool,
    /// There are inbound listeners, so the leaf must be usable as a server certificate.
    pub serves: bool,
    /// Names that the leaf must carry, each of them.
    pub expected_names: Vec<SanPattern>,
    /// How long a revocation list is used after the time at which the next one was promised.
    pub revocation_grace: Duration,
}
