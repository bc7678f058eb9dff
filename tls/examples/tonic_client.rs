//! A gRPC client (tonic) over mTLS with one channel for each generation of its identity: after a rotation, new
//! requests use a new connection, and the old one ends with its last request. It asks the server's health until
//! its standard input ends, and prints how many requests succeeded and failed.
//!
//! cargo run -p hotcert-tls --example tonic_client -- /var/run/secrets/tls ledger.shop.svc:8443

use std::error::Error;
use std::io;
use std::time::Duration;

use hotcert_tls::{Connector, Events, ExpectedPeer, Reloader};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const BETWEEN_REQUESTS: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(server)) = (args.next(), args.next()) else {
        return Err("usage: tonic_client DIRECTORY HOST:PORT [SAN]".into());
    };
    let host = server.rsplit_once(':').map_or(server.as_str(), |(host, _)| host);
    let expected = args.next().unwrap_or_else(|| host.to_owned()).parse::<ExpectedPeer>()?;
    let identities = Reloader::builder().directory(directory).client_only().start().await?;
    tokio::spawn(log(identities.subscribe()));
    let mut channels =
        Channels { connector: identities.connector(expected).alpn(["h2"]), server, current: None };
    let (mut succeeded, mut failed) = (0, 0);
    let (mut end, mut byte) = (tokio::io::stdin(), [0; 1]);
    let mut ended = std::pin::pin!(end.read(&mut byte));
    loop {
        let request = async {
            let mut health = HealthClient::new(channels.channel()?);
            health.check(HealthCheckRequest::default()).await.map_err(io::Error::other)
        };
        match request.await {
            Ok(_) => succeeded += 1,
            Err(error) => {
                failed += 1;
                eprintln!("{error}");
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

/// The channel of the current generation.
struct Channels {
    connector: Connector,
    server: String,
    current: Option<(u64, Channel)>,
}

impl Channels {
    fn channel(&mut self) -> io::Result<Channel> {
        let (snapshot, _) = self.connector.current().ok_or_else(|| io::Error::other("no client identity"))?;
        if let Some((_, channel)) = self.current.as_ref().filter(|(of, _)| *of == snapshot.generation) {
            return Ok(channel.clone());
        }
        // The scheme is http, because the connector makes the TLS handshake.
        let endpoint = Endpoint::try_from(format!("http://{}", self.server)).map_err(io::Error::other)?;
        let connector = self.connector.clone();
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let connector = connector.clone();
            async move {
                let host = uri.host().unwrap_or_default();
                let socket = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
                let stream = connector.connect(host, socket).await.map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        }));
        self.current = Some((snapshot.generation, channel.clone()));
        Ok(channel)
    }
}
