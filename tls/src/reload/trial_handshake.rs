//! The trial handshake: before a candidate is published it completes a handshake with itself in memory,
//! through the very configs that would be published, and a byte goes each way. (In TLS 1.3 a client is
//! done before the server has verified it, so a finished handshake alone proves half.)

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection};

use crate::config::{self, ClientAuth, Configs};
use crate::handshake::HandshakeError;
use crate::identity::{Identity, Rejection};

/// More flights than any handshake takes.
const MAX_FLIGHTS: usize = 16;

/// Makes a handshake with `identity` at both ends, in memory, as a [`Reloader`](crate::Reloader) does before it
/// publishes one.
pub fn trial_handshake(
    identity: &Identity,
    client_auth: ClientAuth,
    now: SystemTime,
) -> Result<(), Rejection> {
    let configs = Configs::build(identity, client_auth)
        .map_err(|error| Rejection::HandshakeFailed { cause: error.to_string() })?;
    try_configs(identity, &configs, now)
}

/// As [`trial_handshake`], through the very configurations that would be published.
pub(super) fn try_configs(identity: &Identity, configs: &Configs, now: SystemTime) -> Result<(), Rejection> {
    let failed = |cause: String| Rejection::HandshakeFailed { cause };
    let Some(server) = &configs.server else {
        // A client only: the servers that it will dial are not known here.
        return Ok(());
    };
    let leaf = &identity.leaf;
    let mutual = configs.trial_client(leaf).map(|client| shake_hands(client, Arc::clone(server)));
    let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    match mutual {
        Some(Ok(())) => return Ok(()),
        Some(Err(cause)) if configs.trusts_client(&leaf.certified.cert, at) => return Err(failed(cause)),
        _ => {}
    }
    // It cannot be its own peer (no clientAuth, a public root, or the last good leaf under a bundle
    // that no longer has its root), so the client goes without a certificate.
    let client = config::self_check(leaf, &[]).map_err(|error| failed(error.to_string()))?;
    let open = Configs::build(identity, ClientAuth::None).map_err(|error| failed(error.to_string()))?;
    let server = open.server.unwrap_or_else(|| Arc::clone(server));
    shake_hands(client, server).map_err(failed)
}

fn shake_hands(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<(), String> {
    let name = ServerName::try_from("trial-handshake.hotcert.internal").map_err(|error| error.to_string())?;
    let mut client = ClientConnection::new(client, name).map_err(|error| error.to_string())?;
    let mut server = ServerConnection::new(server).map_err(|error| error.to_string())?;
    client.writer().write_all(b"?").map_err(|error| error.to_string())?;
    server.writer().write_all(b"!").map_err(|error| error.to_string())?;
    let (mut server_received, mut client_received) = (false, false);
    for _ in 0..MAX_FLIGHTS {
        transfer(&mut client, &mut server)
            .map_err(|error| HandshakeError::WithClient(io::Error::other(error)).cause())?;
        transfer(&mut server, &mut client)
            .map_err(|error| HandshakeError::WithServer(io::Error::other(error)).cause())?;
        server_received |= read_byte(&mut server) == Some(b'?');
        client_received |= read_byte(&mut client) == Some(b'!');
        if server_received && client_received {
            return Ok(());
        }
    }
    Err("it did not finish".into())
}

fn transfer<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> Result<(), rustls::Error> {
    let mut flight = Vec::new();
    while from.wants_write() {
        if from.write_tls(&mut flight).is_err() {
            break;
        }
    }
    let mut rest = flight.as_slice();
    while !rest.is_empty() {
        if to.read_tls(&mut rest).is_err() {
            break;
        }
        to.process_new_packets()?;
    }
    Ok(())
}

fn read_byte<S>(connection: &mut ConnectionCommon<S>) -> Option<u8> {
    let mut byte = [0];
    connection.reader().read_exact(&mut byte).ok().map(|()| byte[0])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
    use zeroize::Zeroizing;

    use super::*;
    use crate::credential::{Credential, LeafParts};
    use crate::identity::Policy;

    fn identity(root: &CertifiedIssuer<'_, KeyPair>, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, root).unwrap();
        let part = |text: String| Ok(Zeroizing::new(text.into_bytes()));
        let credential = Credential {
            leaf: LeafParts::Pair { certificate: part(leaf.pem()), key: part(key.serialize_pem()) },
            trust: part(root.pem()),
            revocation: Err(crate::credential::PartError::Missing { file: "ca.crl".into() }),
            revision: None,
            changed_at: None,
            atomic: true,
        };
        Identity::parse(&credential, &Policy::default(), None, SystemTime::now()).merge(None).unwrap()
    }

    #[test]
    fn configs_that_show_another_leaf_are_refused() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (ours, other) = (identity(&root, "ours.test"), identity(&root, "other.test"));
        let configs = |identity| Configs::build(identity, ClientAuth::Require).unwrap();
        let run = |configs| try_configs(&ours, &configs, SystemTime::now());
        assert_eq!(run(configs(&ours)), Ok(()));
        assert!(matches!(run(configs(&other)), Err(Rejection::HandshakeFailed { .. })));
    }
}
