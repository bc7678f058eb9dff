//! What hotcert promises, seen from outside: the real programs, and clients that are not ours.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod api;
mod authorization;
mod cli;
mod connections;
mod formats;
mod hostile;
mod http;
mod kubernetes;
mod latency;
mod manifests;
mod messages;
mod outbound;
mod probes;
mod proxy;
mod refusal;
mod resumption;
mod shutdown;
mod soak;
mod swap;
mod trust;
mod webhook;
mod workloads;
