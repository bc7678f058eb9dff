//! hyper over mTLS with one pool of connections for each generation of its identity. It requests the URL until its
//! standard input ends, and prints how many requests succeeded and failed.
//!
//! cargo run -p hotcert-tls --example hyper_client -- /var/run/secrets/tls https://ledger.shop.svc:8443/

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hotcert_tls::{ClientStream, Connector, Events, ExpectedPeer, Reloader};
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const BETWEEN_REQUESTS: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: hyper_client DIRECTORY URL [SAN]".into());
    };
    let url: Uri = url.parse()?;
    let expected = args.next().or_else(|| url.host().map(str::to_owned)).unwrap_or_default();
    let identities = Reloader::builder().directory(directory).client_only().start().await?;
    tokio::spawn(log(identities.subscribe()));
    let connector = identities.connector(expected.parse::<ExpectedPeer>()?).alpn(["http/1.1"]);
    let mut pools = Pools { connector: TlsConnector(connector), current: None };
    let (mut succeeded, mut failed) = (0, 0);
    let (mut end, mut byte) = (tokio::io::stdin(), [0; 1]);
    let mut ended = std::pin::pin!(end.read(&mut byte));
    loop {
        let response = pools.pool()?.get(url.clone());
        match async { Ok::<_, Box<dyn Error>>(response.await?.into_body().collect().await?) }.await {
            Ok(_) => succeeded += 1,
            Err(error) => {
                failed += 1;
                eprintln!("{error:?}");
            }
        }
        if succeeded % 10 == 0 {
            println!("succeeded {succeeded}");
        }
        tokio::select! {
            _ = &mut ended => break,
            () = tokio::time::sleep(BETWEEN_REQUESTS) => {}
        }
    }
    println!("succeeded {succeeded} failed {failed}");
    Ok(())
}

async fn log(mut events: Events) {
    while let Some(event) = events.next().await {
        println!("{event}");
    }
}

type Pool = Client<TlsConnector, Empty<Bytes>>;

/// The pool of the current generation.
struct Pools {
    connector: TlsConnector,
    current: Option<(u64, Pool)>,
}

impl Pools {
    fn pool(&mut self) -> Result<Pool, Box<dyn Error>> {
        let (snapshot, _) = self.connector.0.current().ok_or("no client identity")?;
        if let Some((_, pool)) = self.current.as_ref().filter(|(of, _)| *of == snapshot.generation) {
            return Ok(pool.clone());
        }
        let pool = Client::builder(TokioExecutor::new()).build(self.connector.clone());
        self.current = Some((snapshot.generation, pool.clone()));
        Ok(pool)
    }
}

/// The connector, as hyper's client calls it.
#[derive(Clone)]
struct TlsConnector(Connector);

impl tower::Service<Uri> for TlsConnector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move {
            let host = url.host().unwrap_or_default();
            let socket = TcpStream::connect((host, url.port_u16().unwrap_or(443))).await?;
            let stream = connector.connect(host, socket).await.map_err(io::Error::other)?;
            Ok(Stream(TokioIo::new(stream)))
        })
    }
}

/// The connection, as hyper's client reads and writes it.
struct Stream(TokioIo<ClientStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
