//! A program's connection to its own listener, to see what it really serves: how the listener tells it from a client's.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;

/// ALPN of a program's connection to its own listener. Pass it to
/// [`Snapshot::self_check_config`](crate::Snapshot::self_check_config) for the client's side.
pub const SELF_CHECK_ALPN: &[u8] = b"hotcert-self-check";

/// For [`Acceptor::accept_from_with`](crate::Acceptor::accept_from_with): `config`, or for a client that offers
/// [`SELF_CHECK_ALPN`] the same with that protocol and no other. The accepted stream then has it as its protocol, and
/// the application is not troubled with it.
pub fn answer_self_check(hello: &ClientHello<'_>, config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if !hello.alpn().is_some_and(|mut offered| offered.any(|name| name == SELF_CHECK_ALPN)) {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![SELF_CHECK_ALPN.to_vec()];
    Arc::new(config)
}
