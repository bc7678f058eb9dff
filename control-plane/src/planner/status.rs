//! The status of the objects. It is written when it differs from the one before, never for a timestamp
//! alone.

mod authority;
mod certificate;
mod condition_writer;
mod readiness;

pub use authority::authority;
pub use certificate::certificate;
pub use readiness::Effect;
