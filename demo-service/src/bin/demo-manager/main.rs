//! The program: flags in, an HTTPS server out. Logs a line of JSON to stdout for everything that happens.

mod api;
mod cloud;
mod inventory;
mod notification;
mod notifier;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use demo_service::service::{bind_problem, listen_address};
use hotcert::external::http_client::{AddressPolicy, Endpoint};
use hotcert_log::{errln, outln};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use zeroize::Zeroizing;

use api::Api;
use cloud::{Cloud, Record};
use inventory::{Inventory, Kind};
use notifier::{Destinations, Notifier};

/// An external certificate manager for one machine
///
/// Emulates IBM Certificate Manager and IBM Secrets Manager, so that hotcert can be tried with them without an
/// account. It keeps certificates in versions, reports in a signed callback that one is about to expire and in an
/// event that one was rotated, and serves the API that versions are fetched from and pushed to. Its state survives
/// a crash.
///
/// The APIs with which its instances, the authorization, the registration, topics, destinations and subscriptions are
/// made are emulated too, for `hotcert setup ibm`: the Global Catalog at /catalog/api/v1, Event Notifications at
/// /event-notifications, the others at their own paths.
///
/// Two requests with the API key control it: POST /demo/secrets/ID/rotate creates a new version of a certificate
/// that it issues itself, and POST /demo/secrets/ID/expire reports a certificate as about to expire.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Directory for its state; created if missing
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Directory with tls.crt and tls.key, its server certificate
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444", value_parser = listen_address)]
    listen: SocketAddr,
    /// File with the API key that clients must send
    #[arg(long, value_name = "FILE")]
    api_key: PathBuf,
    /// Name of a certificate that is pushed to it, and that the first push creates; may be repeated
    #[arg(long, value_name = "ID")]
    keep: Vec<String>,
    /// Certificate that it issues itself, under its own root; may be repeated
    #[arg(long, value_name = "ID=DNS-NAME")]
    make: Vec<String>,
    /// Certificate that is pushed to it for a key that it makes itself (managed CSR); may be repeated
    #[arg(long, value_name = "ID=DNS-NAME")]
    managed_csr: Vec<String>,
    /// Lifetime of the certificates it issues
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration)]
    lifetime: Duration,
    /// CRN of the instance that it emulates
    #[arg(long, value_name = "CRN", default_value = "crn:v1:bluemix:public:cloudcerts:demo:a/hotcert:1::")]
    instance: String,
    /// Where to send expiry callbacks, as Certificate Manager does
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Where to send rotation events, as Secrets Manager does through Event Notifications [default: to the destinations of
    /// its own Event Notifications]
    #[arg(long, value_name = "URL", requires = "events_token")]
    events: Option<String>,
    /// File with the secret for the header x-token of events, which are not signed
    #[arg(long, value_name = "FILE")]
    events_token: Option<PathBuf>,
    /// File with the roots of the --callback and --events servers [default: the public web PKI]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Times before the end of a certificate at which it is reported as about to expire
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', default_value = "90d,60d,30d,10d,1d",
        value_parser = duration)]
    thresholds: Vec<Duration>,
    /// File that every request is written to, a line of JSON each, with the secrets in it
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a number and a unit, such as 30s, 10m, 36h or 90d".into())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errln!("demo-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut secrets: BTreeMap<String, Kind> =
        cli.keep.iter().map(|id| (id.clone(), Kind::Imported)).collect();
    for (flag, texts, kind) in [
        ("--make", &cli.make, Kind::Issued as fn(String) -> Kind),
        ("--managed-csr", &cli.managed_csr, Kind::ManagedCsr),
    ] {
        for text in texts {
            let Some((id, name)) = text.split_once('=') else {
                bail!("{flag} {text} has no DNS name: write it like orders=orders.shop.svc");
            };
            secrets.insert(id.to_owned(), kind(name.to_owned()));
        }
    }
    let inventory = Inventory::open(&cli.state, &cli.instance, secrets, cli.lifetime)?;
    let inventory = Arc::new(inventory);
    let cloud = Arc::new(Cloud::open(&cli.state, &cli.instance)?);
    let ca = cli.ca.as_deref().map(read).transpose()?;
    let local =
        AddressPolicy { allowed: ["127.0.0.0/8", "::1"].iter().filter_map(|net| net.parse().ok()).collect() };
    let endpoint = |url: &Option<String>| {
        let roots = ca.as_ref().map(|ca| ca.as_slice());
        url.as_ref().map(|url| Endpoint::new(url, local.clone(), roots)).transpose()
    };
    let (change, changed) = watch::channel(());
    let notifier = Notifier {
        inventory: Arc::clone(&inventory),
        callback: endpoint(&cli.callback).context("--callback")?,
        events: endpoint(&cli.events).context("--events")?,
        token: cli.events_token.as_deref().map(secret).transpose()?,
        destinations: Destinations { cloud: Arc::clone(&cloud), policy: local.clone(), roots: ca.clone() },
        thresholds: cli.thresholds,
        changed,
    };
    let record = cli.record.as_deref().map(Record::open).transpose()?;
    let api = Arc::new(Api::new(inventory, cloud, record, secret(&cli.api_key)?, change));
    let acceptor = acceptor(&cli.identity)?;
    let bound = TcpListener::bind(cli.listen).await;
    let listener =
        bound.map_err(|error| anyhow!("cannot listen on {}: {}", cli.listen, bind_problem(&error)))?;
    log(&json!({"listening": listener.local_addr()?.to_string()}));
    notifier.start();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept concerns one client only.
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
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// The content of a file without the line end that editors like to leave.
fn secret(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = read(path)?;
    let text = str::from_utf8(&bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// One line of JSON on stdout.
fn log(event: &Value) {
    outln!("{event}");
}
