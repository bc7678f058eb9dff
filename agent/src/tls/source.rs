//! Where credentials come from: the mounted directory, a Secret watched through the Kubernetes API, and
//! the selection between the two. Sources deliver bytes; they validate nothing.

pub mod directory;
mod kind;
pub mod kubernetes;
mod selector;

pub use kind::SourceKind;
pub use selector::{Candidate, Decision, SourceSelector};
