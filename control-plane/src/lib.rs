//! The control plane of hotcert: everything that is not in a pod's data path.
//!
//! ```text
//!            observe                    plan                       apply
//!   store ─────────────► Observed ─────────────► Plan ─────────────────────► store
//!     ▲                    (pure: lifecycle, rollover, proof,                  │
//!     │                     notifications, external sync)                      │
//!     └──────────────── reconcile, on the replica that leads ──────────────────┘
//!          ▲                     ▲                        │
//!     cli, webhook         proof: handshakes        notify: webhooks
//!     requests             with every pod           external: managers outside
//! ```
//!
//! The lowest layer is first: a module depends only on modules above it in this table.
//!
//! | module | what it is |
//! |---|---|
//! | [`digest`] | SHA-256 digests as text |
//! | [`backoff`] | how long to wait after failures |
//! | [`api`] | the objects, their validation, names, dates and YAML |
//! | [`pki`] | authorities and the leaves they sign, keyrings, certificate facts, preflight checks |
//! | [`inject`] | from a pod to the pod with the agent, pure; the same for YAML |
//! | [`outbox`] | deliveries that wait or are under way, and when each is tried again |
//! | [`planner`] | from the observed state to actions, pure: every decision is made and tested here |
//! | [`proof`] | handshakes with pods: what each serves, and whom it accepts |
//! | [`store`] | objects, keys, versions and pods, in a cluster or in a directory |
//! | [`external`] | certificate managers outside, and the sync with them |
//! | [`notify`] | events, outgoing webhooks and their signatures, the receiver of incoming ones |
//! | [`runtime`] | the reconcile loop, the application of plans, leader election, metrics |
//! | [`controller`] | the program in the cluster: the loop, the admission webhook, the receiver |
//! | [`cli`] | the commands, one file each |
//!
//! Beneath them are the log, [`hotcert_log`], and the crate [`hotcert_tls`]: what an agent would make of an identity,
//! and the reload of the controller's own certificates. Nothing else of ours is used.

// These panic when nobody reads on, and wait for who reads slowly: the log and the commands print through `hotcert_log`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod backoff;
pub mod cli;
pub mod controller;
pub mod digest;
pub mod external;
pub mod inject;
pub mod notify;
pub mod outbox;
pub mod pki;
pub mod planner;
pub mod proof;
pub mod runtime;
pub mod store;
