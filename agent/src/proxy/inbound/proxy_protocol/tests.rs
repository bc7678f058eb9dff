//! Headers, byte by byte.

#![allow(clippy::unwrap_used)]

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn client<'a>(from: &str, to: &str, peer: Option<ClientCertificate<'a>>) -> Client<'a> {
    Client { from: address(from), to: address(to), tls: Tls::default(), peer }
}

/// Type and value of each; what is left over fails.
fn values(mut rest: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut values = Vec::new();
    while let [kind, high, low, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        values.push((*kind, value.to_vec()));
        rest = after;
    }
    assert_eq!(rest, [0; 0]);
    values
}

#[test]
fn the_checksum_is_that_of_castagnoli() {
    // RFC 3720, B.4, and the usual check value.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_header_has_addresses_and_what_tls_said() {
    let algorithms = Algorithms::default();
    let id: SpiffeId = "spiffe://shop/ns/shop/sa/a".parse().unwrap();
    let header = Client {
        from: address("192.0.2.1:50000"),
        to: address("192.0.2.2:8443"),
        tls: Tls {
            alpn: Some(b"postgresql"),
            server_name: Some("payments.shop.svc"),
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            shown: Some(&algorithms),
        },
        peer: Some(ClientCertificate { common_name: Some("a"), spiffe_id: Some(&id) }),
    }
    .header();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x80");
    assert_eq!(header.len(), 16 + 0x80);
    assert_eq!(header[16..28], [192, 0, 2, 1, 192, 0, 2, 2, 0xc3, 0x50, 0x20, 0xfb]);
    let values = values(&header[28..]);
    let kinds: Vec<u8> = values.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ALPN, AUTHORITY, SSL, SPIFFE_ID, CRC32C]);
    assert_eq!(values[0].1, b"postgresql");
    assert_eq!(values[1].1, b"payments.shop.svc");
    assert_eq!(values[2].1, b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x01a\x23\0\x16TLS_AES_128_GCM_SHA256");
    assert_eq!(values[3].1, b"spiffe://shop/ns/shop/sa/a");
    let mut zeroed = header.to_vec();
    let sum: [u8; 4] = zeroed.split_off(header.len() - 4).try_into().unwrap();
    zeroed.extend([0; 4]);
    assert_eq!(u32::from_be_bytes(sum), crc32c(&zeroed));
}

#[test]
fn addresses_are_of_one_family() {
    for (from, to, family, bytes) in [
        ("192.0.2.1:1", "192.0.2.2:2", 0x11, 12),
        ("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2", 0x11, 12),
        ("[2001:db8::1]:1", "[2001:db8::2]:2", 0x21, 36),
        ("192.0.2.1:1", "[2001:db8::2]:2", 0x21, 36),
    ] {
        let header = client(from, to, None).header();
        assert_eq!(header[13], family, "{from} {to}");
        assert_eq!(header[16 + bytes], SSL, "{from} {to}");
    }
    let header = client("[2001:db8::1]:1", "192.0.2.1:2", None).header();
    assert_eq!(header[32..48], "::ffff:192.0.2.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
}

#[test]
fn a_client_without_a_certificate_is_not_verified() {
    let header = client("192.0.2.1:1", "192.0.2.2:2", None).header();
    assert_eq!(values(&header[28..])[0], (SSL, vec![CLIENT_SSL, 0, 0, 0, 1]));
}

#[test]
fn a_header_is_bounded_and_no_name_is_cut() {
    let id: SpiffeId = format!("spiffe://d/{}", "x".repeat(2048 - 11)).parse().unwrap();
    let alpn = [b'a'; 255];
    let long = "n".repeat(255);
    for (common_name, told) in [("c".repeat(MAX_COMMON_NAME_BYTES), true), ("c".repeat(70_000), false)] {
        let peer = ClientCertificate { common_name: Some(&common_name), spiffe_id: Some(&id) };
        let mut client = client("[2001:db8::1]:1", "[2001:db8::2]:2", Some(peer));
        (client.tls.alpn, client.tls.server_name) = (Some(&alpn[..]), Some(long.as_str()));
        let header = client.header();
        assert!(header.len() <= 4096, "{} bytes", header.len());
        assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), header.len() - 16);
        let (_, ssl) = &values(&header[52..])[2];
        assert_eq!(values(&ssl[5..]).iter().any(|(kind, _)| *kind == SSL_CN), told);
    }
}
