//! A TLS identity that rotates while it is used: leaf, key and trust are swapped together, each handshake uses
//! what is current at its moment, and a connection learns when the root under which it was made is gone.
//!
//! ```no_run
//! use hotcert_tls::{ExpectedPeer, Reloader};
//!
//! # async fn run(listener: tokio::net::TcpListener, other: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! let identities = Reloader::builder()
//!     .directory("/var/run/secrets/tls") // tls.crt, tls.key and ca.crt, as a Secret volume has them
//!     .require_client_certificate()
//!     .start()
//!     .await?; // the first identity is current
//!
//! let acceptor = identities.acceptor(["h2", "http/1.1"]);
//! let (socket, from) = listener.accept().await?;
//! let stream = acceptor.accept_from(socket, from.ip()).await?; // under the identity of this moment, within limits
//! println!("{}", stream.peer().map_or_else(String::new, |peer| peer.names.to_string()));
//! let untrusted = stream.untrusted(); // completes when the client's root is removed
//!
//! let connector = identities.connector(ExpectedPeer::spiffe("spiffe://shop/ns/shop/sa/ledger")?);
//! let stream = connector.connect("ledger.shop.svc", other).await?;
//!
//! let mut events = identities.subscribe(); // published, refused (with the reason), held, expired, trust changed
//! # Ok(()) }
//! ```
//!
//! | | |
//! |---|---|
//! | [`Reloader`], [`ReloaderBuilder`] | what to read, and what is required of it |
//! | [`Identities`] | the handle: acceptors, connectors, events, status |
//! | [`Acceptor`], [`ServerStream`], [`FairLimiter`] | a server's side of a connection |
//! | [`Connector`], [`ClientStream`], [`ExpectedPeer`] | a client's side of a connection |
//! | [`Peer`], [`Names`], [`SpiffeId`], [`SanPattern`] | who is at the other end |
//! | [`HandshakeError`] | why a handshake failed |
//! | [`ManualSource`] | a source of the program's own |
//! | [`Event`], [`Status`](status::Status) | what happens, and how things stand |
//! | [`Snapshot`], [`Snapshots`] | the identity and configurations of rustls, for those who bring their own loop |
//! | [`answer_self_check`], [`SELF_CHECK_ALPN`] | a program's connection to its own listener: what it really serves |
//! | [`identity`], [`credential`] | validation alone, without a reload: what is wrong with these files? |
//!
//! The parts of the crate meet in the [`Snapshot`]; one writer publishes it, and nothing else can:
//!
//! ```text
//! source ──► credential ──► identity ──► config ──► snapshot ══► loaded once by each connection
//! └────────────────────── reload ─────────────────────┘
//! ```
//!
//! # Features
//!
//! - `kubernetes`: a Secret of the Kubernetes API as a source, beside or in place of a directory.
//! - `metrics`: counters and gauges through the [`metrics`](https://docs.rs/metrics) facade.

#![warn(missing_docs)]

mod acceptor;
mod chain_limits;
mod chain_verifier;
mod config;
mod config_cache;
mod connector;
pub mod credential;
mod crypto;
mod digest;
mod event;
mod fair_limiter;
mod handshake;
mod handshake_limiter;
mod identities;
pub mod identity;
#[cfg(feature = "metrics")]
mod metrics;
mod names;
mod peer;
mod reload;
mod reload_error;
mod reloader;
mod san_pattern;
mod self_check;
mod shared;
mod snapshot;
mod source;
mod spiffe_id;
pub mod status;
mod stream;
mod turns;

pub use acceptor::Acceptor;
pub use config::{ClientAuth, ClientAuthError, ExpectedPeer, ExpectedPeerError, SingleRootVerifier};
pub use connector::Connector;
pub use event::{CredentialPart, Event, Events};
pub use fair_limiter::{Activity, Answering, FairLimiter, Place, Source};
pub use handshake::{HandshakeError, HandshakeFailure};
pub use identities::Identities;
pub use identity::{Identity, Leaf, Rejection, RejectionReason, Trust};
pub use names::Names;
pub use peer::Peer;
pub use reload::{ManualSource, trial_handshake};
pub use reload_error::ReloadError;
pub use reloader::{Reloader, ReloaderBuilder, StartError};
pub use san_pattern::{SanPattern, SanPatternError};
pub use self_check::{SELF_CHECK_ALPN, answer_self_check};
pub use snapshot::{Delivery, Snapshot, Snapshots};
pub use source::directory::read_directory;
pub use source::{ApiState, SecretRef, SecretRefError, SourceKind, WatchError, WatchErrorReason};
pub use spiffe_id::{NoSpiffeId, SpiffeId, SpiffeIdError};
pub use status::Status;
pub use stream::{ClientStream, ServerStream};

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
