//! What TLS itself costs with the library that the agent uses, without sockets: the server's side alone, in
//! memory. No terminator on rustls can be cheaper.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kit::dialer::Dialer;
use kit::pki::{Pair, Pki};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::message::ZEROS;

pub const NAME: &str = "rustls alone";

pub struct Floor {
    server: Arc<ServerConfig>,
}

impl Floor {
    pub fn new(pki: &Pki, pair: &Pair) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(pki.roots().as_bytes()) {
            roots.add(root?)?;
        }
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        server.send_tls13_tickets = 0;
        Ok(Self { server: Arc::new(server) })
    }

    /// Milliseconds of the server for each handshake.
    pub fn handshake(&self, dialer: &Dialer, time: Duration) -> anyhow::Result<f64> {
        let (begin, mut count, mut spent) = (Instant::now(), 0u32, Duration::ZERO);
        while begin.elapsed() < time {
            spent += self.meet(dialer)?.spent;
            count += 1;
        }
        Ok(spent.as_secs_f64() * 1000.0 / f64::from(count))
    }

    /// Seconds of the server for each GiB: to the client, and from it.
    pub fn bulk(&self, dialer: &Dialer, time: Duration) -> anyhow::Result<[f64; 2]> {
        let Met { mut client, mut server, .. } = self.meet(dialer)?;
        let mut plain = vec![0; ZEROS.len()];
        let (mut sealing, mut opening, mut bytes) = (Duration::ZERO, Duration::ZERO, 0u64);
        let begin = Instant::now();
        while begin.elapsed() < time {
            let mut flight = Vec::new();
            let at = Instant::now();
            let count = server.writer().write(&ZEROS)?;
            while server.wants_write() {
                server.write_tls(&mut flight)?;
            }
            sealing += at.elapsed();
            take(&mut client, &flight, &mut plain)?;

            flight.clear();
            ensure!(client.writer().write(&ZEROS)? == count, "both take the same at once");
            while client.wants_write() {
                client.write_tls(&mut flight)?;
            }
            let at = Instant::now();
            take(&mut server, &flight, &mut plain)?;
            opening += at.elapsed();
            bytes += count as u64;
        }
        let gib = bytes as f64 / f64::from(1u32 << 30);
        Ok([sealing.as_secs_f64() / gib, opening.as_secs_f64() / gib])
    }

    fn meet(&self, dialer: &Dialer) -> anyhow::Result<Met> {
        let mut client = dialer.tls()?.context("the dialer speaks TLS")?;
        let mut spent = Duration::ZERO;
        let at = Instant::now();
        let mut server = ServerConnection::new(Arc::clone(&self.server))?;
        spent += at.elapsed();
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight)?;
            }
            let at = Instant::now();
            let mut rest = flight.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest)?;
                server.process_new_packets()?;
            }
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight)?;
            }
            spent += at.elapsed();
            let mut rest = flight.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest)?;
                client.process_new_packets()?;
            }
        }
        Ok(Met { client, server, spent })
    }
}

struct Met {
    client: ClientConnection,
    server: ServerConnection,
    /// By the server.
    spent: Duration,
}

fn take<S>(
    side: &mut tokio_rustls::rustls::ConnectionCommon<S>,
    flight: &[u8],
    plain: &mut [u8],
) -> anyhow::Result<()> {
    let mut rest = flight;
    while !rest.is_empty() {
        side.read_tls(&mut rest)?;
        side.process_new_packets()?;
        while side.reader().read(plain).is_ok_and(|count| count > 0) {}
    }
    Ok(())
}
