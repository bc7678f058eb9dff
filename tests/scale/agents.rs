//! As many agents as there are certificates, in one process: each has an address of its own, on which it
//! shows the leaf and judges clients by the roots of its Secret, with the very TLS configuration that a
//! real agent makes of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::{Arc, RwLock};

use futures_util::TryStreamExt as _;
use hotcert_tls::credential::{Credential, Layout, PartError};
use hotcert_tls::{Identity, Reloader};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

const PROOF: u16 = 9643;

/// What each agent serves, by its number.
#[derive(Clone, Default)]
pub struct Agents(Arc<RwLock<HashMap<u32, Served>>>);

#[derive(Clone)]
struct Served {
    config: Arc<ServerConfig>,
    leaf_sha256: String,
    roots: Vec<String>,
}

/// The address of an agent: one of this machine, as any of 127.0.0.0/8 is.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f20_0001 + number)
}

pub fn secret(number: u32) -> String {
    format!("app{number:05}-tls")
}

impl Agents {
    /// Runs until dropped; begins to follow the Secrets at once.
    pub async fn run(self, client: Client) {
        let listener =
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, PROOF)).await.expect("the port of proofs is free");
        let secrets: Api<Secret> = Api::all(client);
        let ours = watcher::Config::default().labels("hotcert.dev/certificate").page_size(500);
        let mut events = pin!(watcher(secrets, ours).default_backoff().applied_objects());
        loop {
            tokio::select! {
                Ok(Some(secret)) = events.try_next() => self.take(&secret),
                Ok((socket, _)) = listener.accept() => {
                    let agents = self.clone();
                    tokio::spawn(async move { agents.answer(socket).await });
                }
            }
        }
    }

    /// What an agent makes of its Secret.
    fn take(&self, secret: &Secret) {
        let number =
            secret.metadata.name.as_deref().and_then(|name| name.strip_prefix("app")?.strip_suffix("-tls"));
        let (Some(number), Some(data)) = (number.and_then(|number| number.parse().ok()), &secret.data) else {
            return;
        };
        let part = |key: &str| match data.get(key) {
            Some(bytes) => Ok(bytes.0.clone().into()),
            None => Err(PartError::Missing { file: key.into() }),
        };
        let credential = Credential::read_parts(&Layout::default(), None, true, part);
        let (mut source, identities) = Reloader::builder().start_manually();
        source.offer(&credential);
        let Some(snapshot) = identities.current() else { return };
        let Identity { leaf, trust } = &snapshot.identity;
        let roots = trust.iter().flat_map(|trust| &trust.roots).map(|root| root.sha256.clone()).collect();
        if let Some(config) = snapshot.mutual_server_config(&[b"http/1.1"]) {
            let served = Served { config, leaf_sha256: leaf.sha256.clone(), roots };
            self.0.write().unwrap().insert(number, served);
        }
    }

    async fn answer(&self, socket: TcpStream) -> Option<()> {
        let IpAddr::V4(own) = socket.local_addr().ok()?.ip() else { return None };
        let number = own.to_bits().checked_sub(address(0).to_bits())?;
        let served = self.0.read().unwrap().get(&number).cloned()?;
        let mut stream = TlsAcceptor::from(served.config).accept(socket).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
            let mut byte = [0; 512];
            let read = stream.read(&mut byte).await.ok()?;
            head.extend_from_slice(byte.get(..read).filter(|read| !read.is_empty())?);
        }
        let under: HashMap<_, _> = served.roots.iter().map(|root| (root.clone(), 0)).collect();
        let body = json!({"generation": 1, "leaf_sha256": served.leaf_sha256, "roots": served.roots, "connections_under": under});
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()
    }
}
