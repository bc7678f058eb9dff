//! The server: its listener, plain or with mutual TLS, and what it is told on standard input.

mod calls;

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures_util::stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tonic::transport::Server;
use tonic::transport::server::Router;

use calls::Calls;

/// Connections whose handshake is done, before the server takes them.
const ACCEPTED: usize = 64;

pub async fn serve(directory: Option<PathBuf>) -> anyhow::Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Server::builder()
        .add_service(Calls::default())
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    match directory {
        None => {
            std::thread::spawn(|| until_input_ends(|| Ok(())));
            let accepted = stream::unfold(listener, async |listener| {
                let socket = listener.accept().await.and_then(|(socket, _)| no_delay(socket));
                Some((socket, listener))
            });
            Ok(router.serve_with_incoming(Box::pin(accepted)).await?)
        }
        Some(directory) => serve_tls(router, listener, directory).await,
    }
}

/// tonic's own TLS cannot be given another certificate, so the handshakes are made here.
async fn serve_tls(router: Router, listener: TcpListener, directory: PathBuf) -> anyhow::Result<()> {
    let current = Arc::new(Mutex::new(config(&directory)?));
    let replaced = Arc::clone(&current);
    std::thread::spawn(move || {
        until_input_ends(|| {
            *replaced.lock().expect("no holder of this lock panics") = config(&directory)?;
            Ok(())
        });
    });
    let (accepted, mut taken) = mpsc::channel::<io::Result<TlsStream<TcpStream>>>(ACCEPTED);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let config = Arc::clone(&current.lock().expect("no holder of this lock panics"));
            let accepted = accepted.clone();
            tokio::spawn(async move {
                let Ok(socket) = no_delay(socket) else { return };
                match TlsAcceptor::from(config).accept(socket).await {
                    Ok(stream) => drop(accepted.send(Ok(stream)).await),
                    Err(error) => eprintln!("handshake: {error}"),
                }
            });
        }
    });
    Ok(router.serve_with_incoming(stream::poll_fn(move |context| taken.poll_recv(context))).await?)
}

fn no_delay(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn config(directory: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = |name: &str| -> anyhow::Result<Vec<_>> {
        let read = CertificateDer::pem_file_iter(directory.join(name)).with_context(|| name.to_owned())?;
        Ok(read.collect::<Result<_, _>>()?)
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.crt")?);
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("tls.key"))?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates("tls.crt")?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Ends the program with its input, and reloads on that word.
fn until_input_ends(mut reload: impl FnMut() -> anyhow::Result<()>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if line == "reload" {
            match reload() {
                Ok(()) => println!("reloaded"),
                Err(error) => println!("not reloaded: {error:#}"),
            }
        }
    }
    std::process::exit(0);
}
