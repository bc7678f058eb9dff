//! A real API server and its etcd, for one scenario: started empty, on an address that no other test
//! has, with RBAC and admission switched on as on any cluster, and gone when the scenario ends. Nothing
//! else runs: no controller makes a default ServiceAccount, no kubelet runs a pod.
//!
//! The processes die with the thread that started them, so start them on the test's own thread.

mod files;
mod hotcert;
mod objects;
mod process;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use hyper::http::Request;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::pki::write;
use crate::{DEADLINE, client, own, within};
use files::Files;
pub use hotcert::SYSTEM;
pub use objects::Account;
use process::{Process, program};

/// An API server that has half a core to itself needs about ten seconds.
const START: Duration = Duration::from_secs(90);

pub struct ApiServer {
    pub address: SocketAddr,
    /// From the first process started to `/readyz`.
    pub ready_after: Duration,
    server: Option<Process>,
    etcd: Process,
    etcd_address: SocketAddr,
    admin: Client,
    files: Files,
    runtime: Runtime,
    directory: TempDir,
}

impl ApiServer {
    pub fn start() -> Self {
        let started = Instant::now();
        let directory = TempDir::new().unwrap();
        let [address, etcd_address, peer_address] = addresses();
        let files = Files::write(directory.path(), address);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let admin = client(&runtime, &files.admin);
        let etcd = etcd(directory.path(), etcd_address, peer_address);
        let ready_after = Duration::ZERO;
        let mut made =
            Self { address, ready_after, server: None, etcd, etcd_address, admin, files, runtime, directory };
        made.start_again();
        made.ready_after = started.elapsed();
        made
    }

    /// Starts the API server that was killed or stopped, where it was and with what it knew.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "the API server is running");
        self.server = Some(self.files.server(self.address, self.etcd_address));
        within(START, "the API server ready", || {
            self.assert_running();
            let answer = self.runtime.block_on(self.admin.request_text(get("/readyz")));
            answer.is_err().then(|| std::thread::sleep(Duration::from_millis(20)));
            answer.ok()
        });
    }

    fn assert_running(&mut self) {
        for process in [Some(&mut self.etcd), self.server.as_mut()].into_iter().flatten() {
            assert_eq!(process.exited(), None, "{} ended at start", process.name);
        }
    }

    /// Ends the API server as a crash does: connections break in the middle of a word.
    pub fn kill(&mut self) {
        drop(self.server.take().expect("the API server is running"));
    }

    /// Ends the API server as an upgrade does, with SIGTERM.
    pub fn stop(&mut self) {
        self.server.take().expect("the API server is running").terminate();
    }

    /// Makes every version handed out so far too old to watch from. A server that is running has them
    /// in memory still; one that is started afterwards answers 410.
    pub fn compact(&self) {
        let ask = |path: &str, body: Value| {
            let body = body.to_string();
            let head =
                format!("POST /v3/kv/{path} HTTP/1.1\r\nhost: {}\r\nconnection: close", self.etcd_address);
            let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let answer = client::ask(self.etcd_address, &request).expect("etcd answers");
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()
        };
        // Two changes to an unrelated key (key and value are base64), so that the latest change of a real one is history.
        let mut now = Value::Null;
        for value in ["b25l", "dHdv"] {
            now = ask("put", json!({"key": "dGljaw==", "value": value}))["header"]["revision"].clone();
        }
        ask("compaction", json!({"revision": now, "physical": true}));
    }

    /// As a member of `system:masters`, who may do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    pub fn admin_kubeconfig(&self) -> &Path {
        &self.files.admin
    }

    /// The root that the API server's certificate is under, as PEM.
    pub fn ca(&self) -> &Path {
        &self.files.ca
    }

    /// A client as this kubeconfig says.
    pub fn client(&self, kubeconfig: &Path) -> Client {
        client(&self.runtime, kubeconfig)
    }

    /// Waits for what a `kube::Client` was asked, with a deadline.
    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let deadline = async { tokio::time::timeout(DEADLINE, future).await };
        self.runtime.block_on(deadline).unwrap_or_else(|_| panic!("no answer within {DEADLINE:?}"))
    }

    /// `kubectl` as the admin, with this on its standard input.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        let input = write(&self.directory.path().join("stdin"), stdin);
        let mut kubectl = client::command("kubectl");
        kubectl.arg("--kubeconfig").arg(&self.files.admin);
        kubectl.arg("--cache-dir").arg(self.directory.path().join("kubectl")).args(args);
        kubectl.stdin(Stdio::from(std::fs::File::open(input).unwrap())).output().unwrap()
    }

    /// Resident memory in KiB, of etcd and of the API server.
    pub fn resident(&self) -> [u64; 2] {
        [self.etcd.resident(), self.server.as_ref().map_or(0, Process::resident)]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            process::show_logs(self.directory.path());
        }
    }
}

fn get(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).unwrap()
}

fn client(runtime: &Runtime, kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    runtime.block_on(async {
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    })
}

fn etcd(directory: &Path, clients: SocketAddr, peers: SocketAddr) -> Process {
    let (clients, peers) = (format!("http://{clients}"), format!("http://{peers}"));
    let mut etcd = Command::new(program("etcd"));
    etcd.arg("--data-dir").arg(directory.join("etcd"));
    etcd.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    etcd.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    etcd.args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync"]);
    Process::start(etcd, directory, "etcd")
}

/// Of the API server, of etcd for clients, and of etcd for peers.
fn addresses() -> [SocketAddr; 3] {
    static STARTED: AtomicU16 = AtomicU16::new(0);
    let offset = 10 * STARTED.fetch_add(1, Ordering::Relaxed);
    [6443, 2379, 2380].map(|port| own::address(port + offset))
}
