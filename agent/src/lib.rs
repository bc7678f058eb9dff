//! The hotcert agent: every pod's TLS identity rotates while it serves.
//!
//! ```text
//! secret bytes ──► Credential ──► Identity ──► TLS configs ──► Snapshot ═══► each connection loads it once
//! volume           credential     identity     tls             snapshot          inbound · outbound
//!                                                                ╚══► Status ──► health, admin, metrics
//! ```
//!
//! A certificate enters in [`volume`], is judged in [`identity`], tried out in [`trial_handshake`], made
//! current by [`reload`] through [`snapshot`], and used in [`handshake`] (inbound, proof) and
//! [`outbound`]. Connections that outlive the identity they were made under are in the [`tracker`].
//! [`reload`] and the proxies do not know each other.

pub mod admin;
pub mod cli;
pub mod config;
pub mod connection;
pub mod proxy;
pub mod runtime;
pub mod tls;
