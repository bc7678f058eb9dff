//! What a peer is called in the log.

use std::fmt;
use std::net::IpAddr;

use hotcert_tls::Peer;

/// The names in its certificate and where it comes from; without a certificate the latter alone.
#[derive(Clone, Copy)]
pub struct PeerName<'a> {
    pub peer: Option<&'a Peer>,
    pub source: IpAddr,
}

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.to_canonical();
        match self.peer {
            None => source.fmt(f),
            Some(peer) if peer.names.is_empty() => write!(f, "{} at {source}", peer.subject),
            Some(peer) => write!(f, "{} at {source}", peer.names),
        }
    }
}
