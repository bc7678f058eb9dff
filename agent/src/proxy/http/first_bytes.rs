//! The first bytes of a connection that the app makes in plain text: they tell HTTP/2 with prior knowledge from
//! HTTP/1.1, from TLS, which would become TLS in TLS, and from everything else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::connection::pass_on_writes::pass_on_writes;

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    Http2,
    /// A token of capitals and a space, as in a request line.
    Http1,
    /// A record of a TLS handshake.
    Tls,
    Other,
}

/// Reads until it is known what the stream begins with. The bytes are read again from the returned stream.
pub async fn read_first_bytes<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(FirstBytes, Rewound<S>)> {
    let mut bytes = [0; HTTP2.len()];
    let mut count = 0;
    let begins = loop {
        if let Some(begins) = tell(&bytes[..count]) {
            break begins;
        }
        match stream.read(&mut bytes[count..]).await? {
            0 => break FirstBytes::Other,
            more => count += more,
        }
    };
    Ok((begins, Rewound { bytes, start: 0, end: count, stream }))
}

/// What these bytes begin, or `None` if that takes more of them.
fn tell(bytes: &[u8]) -> Option<FirstBytes> {
    match bytes {
        [] | [0x16] => None,
        [0x16, 3, ..] => Some(FirstBytes::Tls),
        bytes if bytes == HTTP2 => Some(FirstBytes::Http2),
        bytes if HTTP2.starts_with(bytes) => None,
        bytes => match bytes.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-') {
            Some(end) if end > 0 && bytes[end] == b' ' => Some(FirstBytes::Http1),
            Some(_) => Some(FirstBytes::Other),
            // A method of this length is none that is known, and may be one all the same.
            None if bytes.len() == HTTP2.len() => Some(FirstBytes::Http1),
            None => None,
        },
    }
}

/// A stream that gives its first bytes again.
pub struct Rewound<S> {
    bytes: [u8; HTTP2.len()],
    start: usize,
    end: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let count = (this.end - this.start).min(out.remaining());
        out.put_slice(&this.bytes[this.start..this.start + count]);
        this.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    pass_on_writes!(stream);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn streams_are_told_by_their_first_bytes_which_are_read_again() {
        for (sent, expected) in [
            (HTTP2, FirstBytes::Http2),
            (b"GET / HTTP/1.1\r\n", FirstBytes::Http1),
            (b"PRINT / HTTP/1.1\r\n", FirstBytes::Http1),
            (b"PROPPATCH-AND-SO-ON-AND-ON / HTTP/1.1\r\n", FirstBytes::Http1),
            (b"\x16\x03\x01\x02\x00\x01", FirstBytes::Tls),
            (b"\x16\x04", FirstBytes::Other),
            (b"*1\r\n$4\r\nPING\r\n", FirstBytes::Other),
            (b"get key\r\n", FirstBytes::Other),
            (b"GET", FirstBytes::Other),
            (b"", FirstBytes::Other),
        ] {
            // One byte at a time.
            let (mut app, agent) = tokio::io::duplex(1);
            let told = tokio::spawn(async move {
                let (begins, mut stream) = read_first_bytes(agent).await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                (begins, all)
            });
            app.write_all(sent).await.unwrap();
            drop(app);
            assert_eq!(told.await.unwrap(), (expected, sent.to_vec()));
        }
    }
}
