//! reqwest over mTLS with one client, and so one pool of connections, for each generation of its identity. It
//! requests the URL until its standard input ends, and prints how many requests succeeded and failed.
//!
//! cargo run -p hotcert-tls --example reqwest_client -- /var/run/secrets/tls https://ledger.shop.svc:8443/

use std::error::Error;
use std::time::Duration;

use hotcert_tls::{Connector, Events, ExpectedPeer, Reloader};
use reqwest::{Client, Url};
use rustls::ClientConfig;
use tokio::io::AsyncReadExt as _;

const BETWEEN_REQUESTS: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: reqwest_client DIRECTORY URL [SAN]".into());
    };
    let url: Url = url.parse()?;
    let expected = args.next().or_else(|| url.host_str().map(str::to_owned)).unwrap_or_default();
    let identities = Reloader::builder().directory(directory).client_only().start().await?;
    tokio::spawn(log(identities.subscribe()));
    let mut clients =
        Clients { connector: identities.connector(expected.parse::<ExpectedPeer>()?), current: None };
    let (mut succeeded, mut failed) = (0, 0);
    let (mut end, mut byte) = (tokio::io::stdin(), [0; 1]);
    let mut ended = std::pin::pin!(end.read(&mut byte));
    loop {
        let request = clients.client()?.get(url.clone());
        match async { request.send().await?.error_for_status()?.text().await }.await {
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

/// The client of the current generation.
struct Clients {
    connector: Connector,
    current: Option<(u64, Client)>,
}

impl Clients {
    fn client(&mut self) -> Result<Client, Box<dyn Error>> {
        let (snapshot, config) = self.connector.current().ok_or("no client identity")?;
        if let Some((_, client)) = self.current.as_ref().filter(|(of, _)| *of == snapshot.generation) {
            return Ok(client.clone());
        }
        let client =
            Client::builder().no_proxy().tls_backend_preconfigured(ClientConfig::clone(&config)).build()?;
        self.current = Some((snapshot.generation, client.clone()));
        Ok(client)
    }
}
