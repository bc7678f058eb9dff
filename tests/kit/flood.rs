//! Floods: many connections of a stranger at once, each made again when it has ended, until the flood is dropped.
//! Of another address of loopback where it matters, so that it is another source.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where honest clients come from.
pub const SAME_SOURCE: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub const OTHER_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub struct Flood {
    begun: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

/// What one attacker of a flood counts.
#[derive(Clone)]
pub struct Tally {
    begun: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Tally {
    /// It holds its connection as long as it can.
    pub async fn hold<T>(&self, holding: impl Future<Output = T>) -> T {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let held = holding.await;
        self.open.fetch_sub(1, Ordering::Relaxed);
        held
    }
}

impl Flood {
    /// So many attackers, each of which begins anew when it is done.
    pub fn start<F>(attackers: usize, attack: impl Fn(Tally) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tally = Tally { begun: Arc::default(), open: Arc::default() };
        let attack = Arc::new(attack);
        for _ in 0..attackers {
            let (attack, tally) = (Arc::clone(&attack), tally.clone());
            runtime.spawn(async move {
                loop {
                    if attack(tally.clone()).await.is_err() {
                        // What is refused is not asked for again without a pause.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            });
        }
        Self { begun: tally.begun, open: tally.open, runtime: Some(runtime) }
    }

    /// Plain connections that say nothing.
    pub fn silent(attackers: usize, from: Ipv4Addr, to: SocketAddr) -> Self {
        Self::start(attackers, move |tally| async move {
            let mut stream = connect(from, to).await?;
            tally.hold(wait_closed(&mut stream)).await;
            Ok(())
        })
    }

    /// Plain connections that ask for this, and read what they are told.
    pub fn asking(attackers: usize, from: Ipv4Addr, to: SocketAddr, request: String) -> Self {
        let request: Arc<str> = request.into();
        Self::start(attackers, move |tally| {
            let request = Arc::clone(&request);
            async move {
                let mut stream = connect(from, to).await?;
                stream.write_all(request.as_bytes()).await?;
                tally.hold(wait_closed(&mut stream)).await;
                Ok(())
            }
        })
    }

    /// TLS connections without a certificate that say this and nothing more.
    pub fn over_tls(attackers: usize, from: Ipv4Addr, to: SocketAddr, tls: TlsClient, say: Vec<u8>) -> Self {
        let say: Arc<[u8]> = say.into();
        // A few handshakes at a time, so that they succeed.
        let handshakes = Arc::new(Semaphore::new(8));
        Self::start(attackers, move |tally| {
            let (tls, say, handshakes) = (tls.clone(), Arc::clone(&say), Arc::clone(&handshakes));
            async move {
                let handshake = handshakes.acquire().await;
                let mut stream = tls.connect(from, to).await?;
                drop(handshake);
                let saying = async {
                    stream.write_all(&say).await?;
                    stream.flush().await?;
                    wait_closed(&mut stream).await;
                    Ok(())
                };
                tally.hold(saying).await
            }
        })
    }

    /// How many connections had been made.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many are held now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// From this address; a connection that is dropped leaves no port behind.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_zero_linger()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

async fn wait_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// A client that verifies the server and presents no certificate.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    /// By these roots, and for this name or address.
    pub fn new(roots: &Path, name: &str) -> Self {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(roots).unwrap() {
            store.add(root.unwrap()).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self { connector: TlsConnector::from(Arc::new(config)), name }
    }

    pub async fn connect(&self, from: Ipv4Addr, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let socket = connect(from, to).await?;
        self.connector.connect(self.name.clone(), socket).await
    }

    /// The status of the response to this request, on a connection of its own.
    pub async fn status(&self, from: Ipv4Addr, to: SocketAddr, request: &[u8]) -> io::Result<u16> {
        let mut stream = self.connect(from, to).await?;
        status(&mut stream, request).await
    }
}

/// Sends an HTTP/1.1 request and reads the status of its response.
pub async fn status(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> io::Result<u16> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&head);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}
