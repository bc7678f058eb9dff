//! Injection: from a pod to the same pod with the agent, for the webhook and for `hotcert inject`.
//!
//! [`pod`] is the pure function behind both. It parses the pod's annotations (`annotations`, `settings`, `route`,
//! `resources`, `allow`), adds the agent's container (`container`), redirects probes (`probes`), rejects port conflicts
//! (`ports`), and warns about ways around the agent (`warnings`) and routes that do not carry gRPC (`grpc`). [`stream`] applies it to YAML: it splits the
//! stream into `documents`, finds the workloads in them (`workload`), checks the Services beside them
//! (`services`) and generates the RBAC objects that their agents need (`rbac`).

mod address;
mod allow;
pub mod annotations;
mod container;
pub(crate) mod documents;
mod grpc;
mod nearest;
pub mod pod;
mod pod_spec;
mod ports;
mod probes;
pub mod problem;
mod rbac;
mod resources;
mod route;
mod services;
mod settings;
pub mod sidecar_kind;
pub mod stream;
mod warnings;
mod workload;

/// The agent's image of the same version as this program.
pub const AGENT_IMAGE: &str = concat!("hotcert-agent:", env!("CARGO_PKG_VERSION"));
