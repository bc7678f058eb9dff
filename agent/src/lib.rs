//! The hotcert agent: the TLS identity of a pod rotates while it serves.
//!
//! ```text
//!                        hotcert-tls                                      connection, proxy
//! Secret bytes ─► Credential ─► Identity ─► Configs ─► Snapshot ═══► each connection loads it once
//! volume · API     source       identity    config     reload        handshake ─► inbound · outbound
//!                                                         ╚═► Status ─► admin: health, metrics, proof
//! ```
//!
//! The modules are layers, from the program down to the library; none imports one above it:
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | from arguments to an exit code |
//! | [`runtime`] | the agent as a whole: listeners, workers, shutdown, self-check |
//! | [`config`] | arguments, and the settings they amount to |
//! | [`admin`] | health, metrics, probes of the app, proof of what is served |
//! | [`proxy`] | inbound and outbound traffic, by bytes and by HTTP requests |
//! | [`connection`] | accepting, the inbound handshake, the tracker of open connections and its reaper |
//!
//! Beneath them are the log, [`hotcert_log`], and the crate [`hotcert_tls`]: the identity that rotates, from its sources
//! to the snapshot. Its reload is the only writer of the snapshot, and does not know the proxies; the proxies read the
//! snapshot, and do not know the reload. Connections that outlive the identity under which they were made are found in
//! the [`connection::tracker`] and asked to close.

// These panic when nobody reads on, and wait for who reads slowly: the log and the commands print through `hotcert_log`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod connection;
pub mod proxy;
pub mod runtime;

#[cfg(test)]
mod proxy_fixture;
