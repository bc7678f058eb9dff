//! PROXY protocol, version 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): who a client is, for an app that gets
//! its bytes. The agent sends it before the first of them, and takes it from nobody.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::{CipherSuite, CommonState, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use hotcert_tls::identity::{Algorithms, Leaf};
use hotcert_tls::{Peer, SpiffeId};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Of the signature, command, family and length.
const FIXED_BYTES: usize = 16;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIG_ALG: u8 = 0x24;
const SSL_KEY_ALG: u8 = 0x25;
/// The SPIFFE ID of the client: the first type of those that are free for applications.
const SPIFFE_ID: u8 = 0xE0;

const CLIENT_SSL: u8 = 1;
const CLIENT_CERT_CONN: u8 = 2;
const CLIENT_CERT_SESS: u8 = 4;

/// X.520 allows 64 characters. A longer one is left out: what is cut off could make it another's.
const MAX_COMMON_NAME_BYTES: usize = 256;

/// A connection that is the agent's own, not a client's.
pub async fn send_local<S: AsyncWrite + Unpin>(app: &mut S) -> io::Result<()> {
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_2_LOCAL, 0, 0, 0]);
    app.write_all(&header).await
}

/// What is told of a client. All of it is bounded, and the header is never longer than 4 KiB.
pub struct Client<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub tls: Tls<'a>,
    pub peer: Option<ClientCertificate<'a>>,
}

/// Of its TLS connection.
#[derive(Default)]
pub struct Tls<'a> {
    pub alpn: Option<&'a [u8]>,
    /// The name in the SNI.
    pub server_name: Option<&'a str>,
    pub version: &'static str,
    /// As OpenSSL names it.
    pub cipher: &'static str,
    /// Of the certificate that the client was shown.
    pub shown: Option<&'a Algorithms>,
}

/// Of its certificate, which was verified.
pub struct ClientCertificate<'a> {
    pub common_name: Option<&'a str>,
    pub spiffe_id: Option<&'a SpiffeId>,
}

impl<'a> Tls<'a> {
    pub fn of(connection: &'a ServerConnection, leaf: &'a Leaf) -> Self {
        Self {
            alpn: connection.alpn_protocol(),
            server_name: connection.server_name(),
            version: version(connection),
            cipher: cipher(connection),
            shown: Some(&leaf.algorithms),
        }
    }
}

impl<'a> From<&'a Peer> for ClientCertificate<'a> {
    fn from(peer: &'a Peer) -> Self {
        Self { common_name: peer.common_name.as_deref(), spiffe_id: peer.spiffe_id.as_ref() }
    }
}

impl Client<'_> {
    pub fn header(&self) -> Box<[u8]> {
        let mut header = SIGNATURE.to_vec();
        header.push(VERSION_2_PROXY);
        self.put_addresses(&mut header);
        put(&mut header, ALPN, self.tls.alpn.unwrap_or_default());
        put(&mut header, AUTHORITY, self.tls.server_name.unwrap_or_default().as_bytes());
        put(&mut header, SSL, &self.ssl());
        if let Some(id) = self.peer.as_ref().and_then(|peer| peer.spiffe_id) {
            put(&mut header, SPIFFE_ID, id.as_str().as_bytes());
        }
        // It covers all of the header, with zeros in its own place.
        put(&mut header, CRC32C, &[0; 4]);
        let length = u16::try_from(header.len() - FIXED_BYTES).unwrap_or(u16::MAX);
        header[FIXED_BYTES - 2..FIXED_BYTES].copy_from_slice(&length.to_be_bytes());
        let sum = crc32c(&header).to_be_bytes();
        let at = header.len() - sum.len();
        header[at..].copy_from_slice(&sum);
        header.into()
    }

    /// Family, room for the length, and both addresses. A listener on `[::]` sees IPv4 clients within IPv6.
    fn put_addresses(&self, header: &mut Vec<u8>) {
        match (self.from.ip().to_canonical(), self.to.ip().to_canonical()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.extend([TCP_OVER_IPV4, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
            }
            _ => {
                header.extend([TCP_OVER_IPV6, 0, 0]);
                header.extend([self.from, self.to].map(|address| in_ipv6(address.ip())).concat());
            }
        }
        header.extend(self.from.port().to_be_bytes());
        header.extend(self.to.port().to_be_bytes());
    }

    fn ssl(&self) -> Vec<u8> {
        // The peer's certificate was verified, or there is none.
        let (flags, unverified) = match self.peer {
            Some(_) => (CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS, 0u32),
            None => (CLIENT_SSL, 1),
        };
        let mut ssl = vec![flags];
        ssl.extend(unverified.to_be_bytes());
        let Tls { version, cipher, shown, .. } = self.tls;
        let common_name = self.peer.as_ref().and_then(|peer| peer.common_name);
        let common_name = common_name.filter(|name| name.len() <= MAX_COMMON_NAME_BYTES);
        let signature = shown.and_then(|shown| shown.signature);
        let key = shown.and_then(|shown| shown.key.as_deref());
        for (kind, value) in [
            (SSL_VERSION, Some(version)),
            (SSL_CN, common_name),
            (SSL_CIPHER, Some(cipher)),
            (SSL_SIG_ALG, signature),
            (SSL_KEY_ALG, key),
        ] {
            put(&mut ssl, kind, value.unwrap_or_default().as_bytes());
        }
        ssl
    }
}

/// Appends type, length and value, if there is a value.
fn put(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if let Ok(length @ 1..) = u16::try_from(value.len()) {
        to.push(kind);
        to.extend(length.to_be_bytes());
        to.extend(value);
    }
}

fn in_ipv6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn version(connection: &CommonState) -> &'static str {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "",
    }
}

fn cipher(connection: &CommonState) -> &'static str {
    match connection.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

/// CRC-32C of Castagnoli, bit by bit: a header has a few hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
