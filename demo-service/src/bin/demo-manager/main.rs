//! The manager as a program: state and addresses in, HTTPS out, a line of JSON for everything that happens.

mod announce;
mod api;
mod inventory;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use hotcert::external::http_client::{AddressPolicy, Endpoint};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use zeroize::Zeroizing;

use announce::Announcer;
use api::Api;
use inventory::Inventory;

/// A manager of certificates outside the cluster, for one machine
///
/// Plays IBM Certificate Manager and IBM Secrets Manager, so that everything that goes on between hotcert and
/// them can be seen without an account: it keeps certificates and their versions, says in a signed callback
/// that one is about to expire and in an event that one was rotated, and answers the API that a version is
/// fetched from and brought to. What it keeps outlives it, also when it is killed.
///
/// Somebody with the API key may have it do things: POST /demo/secrets/ID/rotate makes a new version of a
/// certificate that it makes itself, POST /demo/secrets/ID/expire has one announced as about to expire.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Directory with all that it keeps; made if there is none
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Directory with tls.crt and tls.key, which it shows as a server
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444")]
    listen: SocketAddr,
    /// File with the API key that whoever asks must have
    #[arg(long, value_name = "FILE")]
    api_key: PathBuf,
    /// Certificate that is brought to it, by its id; once or more
    #[arg(long, value_name = "ID")]
    keep: Vec<String>,
    /// Certificate that it makes itself, under a root of its own; once or more
    #[arg(long, value_name = "ID=DNS-NAME")]
    make: Vec<String>,
    /// Life of what it makes
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    lifetime: Duration,
    /// CRN of the instance that it plays
    #[arg(long, value_name = "CRN", default_value = "crn:v1:bluemix:public:cloudcerts:demo:a/hotcert:1::")]
    instance: String,
    /// Where it says that a certificate expires, as Certificate Manager does
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Where it says that one was rotated, as Secrets Manager does through Event Notifications
    #[arg(long, value_name = "URL", requires = "events_token")]
    events: Option<String>,
    /// File with what it sends as x-token with events: nobody signs them
    #[arg(long, value_name = "FILE")]
    events_token: Option<PathBuf>,
    /// File with the roots of those addresses [default: the roots that browsers know]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long before its end an expiry is announced
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_value = "90d,60d,30d,10d,1d",
        value_parser = humantime::parse_duration)]
    thresholds: Vec<Duration>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut made = Vec::new();
    for text in &cli.make {
        match text.split_once('=') {
            Some((id, name)) => made.push((id.to_owned(), name.to_owned())),
            None => bail!("--make {text}: write it like orders=orders.shop.svc"),
        }
    }
    let inventory = Inventory::open(&cli.state, &cli.instance, &cli.keep, &made, cli.lifetime)?;
    let inventory = Arc::new(inventory);
    let ca = cli.ca.as_deref().map(read).transpose()?;
    let site = |url: &Option<String>| {
        let reach = AddressPolicy {
            allowed: ["127.0.0.0/8", "::1"].iter().filter_map(|net| net.parse().ok()).collect(),
        };
        let site = url.as_ref().map(|url| Endpoint::new(url, reach, ca.as_ref().map(|ca| ca.as_slice())));
        site.transpose()
    };
    let (change, changed) = watch::channel(());
    let announcer = Announcer {
        inventory: Arc::clone(&inventory),
        callback: site(&cli.callback).context("--callback")?,
        events: site(&cli.events).context("--events")?,
        token: cli.events_token.as_deref().map(secret).transpose()?,
        thresholds: cli.thresholds,
        changed,
    };
    let api = Arc::new(Api::new(inventory, secret(&cli.api_key)?, change));
    let acceptor = acceptor(&cli.identity)?;
    let listener =
        TcpListener::bind(cli.listen).await.with_context(|| format!("listening on {}", cli.listen))?;
    say(&json!({"listening": listener.local_addr()?.to_string()}));
    announcer.start();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Whoever went away again is no reason to end.
                if let Ok((socket, _)) = accepted {
                    tokio::spawn(Arc::clone(&api).serve(acceptor.clone(), socket));
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn acceptor(identity: &Path) -> Result<TlsAcceptor> {
    let (certificate, key) = (read(&identity.join("tls.crt"))?, read(&identity.join("tls.key"))?);
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder_with_provider(inventory::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// Without the line that editors like to leave.
fn secret(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = read(path)?;
    let text = str::from_utf8(&bytes).with_context(|| format!("reading {}", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn say(what: &Value) {
    println!("{what}");
}
