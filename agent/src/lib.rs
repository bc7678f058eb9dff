//! The hotcert agent: every pod's TLS identity rotates while it serves.
//!
//! ```text
//! secret bytes ──► Material ──► Identity ──► TLS configs ──► Snapshot ═══► each connection loads it once
//! volume           material     identity     tls             snapshot          inbound · outbound
//!                                                                ╚══► Status ──► health, admin, metrics
//! ```
//!
//! A certificate enters in [`volume`], is judged in [`identity`], tried out in [`rehearsal`], made
//! current by [`reload`] through [`snapshot`], and used in [`handshake`] (inbound, proof) and
//! [`outbound`]. Connections that outlive the identity they were made under are in the [`ledger`].
//! [`reload`] and the proxies do not know each other.

pub mod admin;
pub mod agent;
mod args;
pub mod authorize;
pub mod check;
pub mod cli;
mod complaints;
mod crypto;
mod exposure;
pub mod handshake;
mod health;
pub mod hex;
mod http;
pub mod identity;
pub mod inbound;
pub mod ledger;
pub mod listener;
pub mod log;
pub mod material;
mod metrics;
pub mod names;
pub mod outbound;
pub mod peer;
mod pem;
pub mod places;
mod plane;
pub mod ports;
pub mod rehearsal;
pub mod relay;
pub mod reload;
pub mod secret;
pub mod self_check;
pub mod settings;
pub mod shutdown;
pub mod snapshot;
pub mod sources;
pub mod status;
mod stream;
mod target;
pub mod tls;
pub mod volume;
mod workers;
