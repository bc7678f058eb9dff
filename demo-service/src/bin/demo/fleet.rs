//! The fleet: two services, each behind its own agent, as four child processes of this program.
//!
//! Children are this executable again. They end with it, however it ends: they are killed when the fleet is dropped, and
//! by the kernel when this process dies. Their stderr goes to a log file each, which is kept after a failure; private
//! keys are not. Once both agents are ready they are registered with the control plane, as on any machine without a
//! cluster.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout_at};

use crate::child::{self, BoundPorts};
use crate::client::ServiceAddress;
use crate::identity::{NAMESPACE, PAYMENTS, STOREFRONT, dns_name, secret};

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

pub struct Fleet {
    children: Vec<(String, Child)>,
    storefront: AgentPorts,
    payments: AgentPorts,
    admin: Client<HttpConnector, Empty<Bytes>>,
}

#[derive(Clone, Copy)]
struct AgentPorts {
    inbound: SocketAddr,
    admin: SocketAddr,
    proof: SocketAddr,
}

/// The directory with the control plane's store and the logs. Removed when dropped, unless the logs are kept.
pub struct Workspace(TempDir);

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("cannot prepare {what}: {source}; is the disk full?")]
    Prepare { what: &'static str, source: io::Error },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{program} ended ({status}); its log says why")]
    Ended { program: String, status: ExitStatus },
    #[error(
        "{program} was not {state} within {}; its log says why",
        humantime::format_duration(START_DEADLINE)
    )]
    Late { program: String, state: &'static str },
}

impl Workspace {
    pub fn new() -> io::Result<Self> {
        tempfile::Builder::new().prefix("hotcert-demo-").tempdir().map(Self)
    }

    /// The control plane's directory.
    pub fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Where the certificate, key and bundle of a service or of the client are published.
    pub fn identity(&self, name: &str) -> PathBuf {
        self.store().join("secrets").join(NAMESPACE).join(secret(name))
    }

    fn log(&self, program: &str) -> PathBuf {
        self.0.path().join(format!("{program}.log"))
    }

    /// Returns the directory, which keeps only the logs.
    pub fn keep_logs(self) -> PathBuf {
        // A key that cannot be removed does no harm: no process that trusts it is left.
        let _ = std::fs::remove_dir_all(self.store());
        self.0.keep()
    }
}

impl Fleet {
    /// Starts everything and returns when both agents are ready. The identities must have been published.
    pub async fn start(workspace: &Workspace, payments_name: &str) -> Result<Self, FleetError> {
        let mut fleet = Starting { workspace, children: Vec::new() };
        let (payments_app, payments_address) = listener()?;
        let (storefront_app, storefront_address) = listener()?;

        fleet.service(PAYMENTS, payments_app, &[])?;
        let payments = fleet.agent(PAYMENTS, payments_address, &[]).await?;
        let route = format!("http:127.0.0.1:0={}#{payments_name}", payments.inbound()?);
        let storefront = fleet.agent(STOREFRONT, storefront_address, &["--outbound", &route]).await?;
        let upstream = format!("http://{}/", storefront.port("outbound")?);
        fleet.service(STOREFRONT, storefront_app, &["--upstream", &upstream])?;

        let mut fleet = Self {
            children: fleet.children,
            storefront: storefront.ports()?,
            payments: payments.ports()?,
            admin: Client::builder(TokioExecutor::new()).build_http(),
        };
        fleet.wait_until_ready().await?;
        for service in [PAYMENTS, STOREFRONT] {
            fleet
                .register(service, workspace)
                .map_err(|source| FleetError::Prepare { what: "the registration of an agent", source })?;
        }
        Ok(fleet)
    }

    /// The address of a service for clients.
    pub fn service_address(&self, service: &str) -> ServiceAddress {
        ServiceAddress { address: self.ports(service).inbound, name: dns_name(service) }
    }

    /// The response of the agent's /healthz; `None` if it does not answer.
    pub async fn health(&self, service: &str) -> Option<Value> {
        self.get(service, "/healthz").await.and_then(|(_, body)| serde_json::from_slice(&body).ok())
    }

    /// Fails if any child has ended.
    pub fn check(&mut self) -> Result<(), FleetError> {
        for (program, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(FleetError::Ended { program: program.clone(), status });
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<(), FleetError> {
        let deadline = Instant::now() + START_DEADLINE;
        for service in [PAYMENTS, STOREFRONT] {
            while !matches!(self.get(service, "/readyz").await, Some((200, _))) {
                self.check()?;
                if Instant::now() > deadline {
                    return Err(FleetError::Late { program: child::agent_of(service), state: "ready" });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Registers the proof and admin ports of this service's agent with the control plane.
    fn register(&self, service: &str, workspace: &Workspace) -> io::Result<()> {
        let pods = workspace.store().join("pods").join(NAMESPACE);
        std::fs::create_dir_all(&pods)?;
        let AgentPorts { proof, admin, .. } = self.ports(service);
        let registration = format!("secret: {}\nproof: {proof}\nadmin: {admin}\n", secret(service));
        std::fs::write(pods.join(format!("{}.yaml", child::agent_of(service))), registration)
    }

    async fn get(&self, service: &str, path: &str) -> Option<(u16, Bytes)> {
        let url = format!("http://{}{path}", self.ports(service).admin).parse().ok()?;
        let response = self.admin.get(url).await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.into_body().collect().await.ok()?.to_bytes()))
    }

    fn ports(&self, service: &str) -> AgentPorts {
        if service == STOREFRONT { self.storefront } else { self.payments }
    }
}

/// A fleet that is being started.
struct Starting<'a> {
    workspace: &'a Workspace,
    children: Vec<(String, Child)>,
}

/// An agent that has bound its ports.
struct Bound {
    program: String,
    ports: BoundPorts,
}

impl Bound {
    fn port(&self, role: &'static str) -> Result<SocketAddr, FleetError> {
        self.ports.of(role).ok_or(FleetError::Late { program: self.program.clone(), state: role })
    }

    fn inbound(&self) -> Result<SocketAddr, FleetError> {
        self.port("inbound")
    }

    fn ports(&self) -> Result<AgentPorts, FleetError> {
        Ok(AgentPorts { inbound: self.inbound()?, admin: self.port("admin")?, proof: self.port("proof")? })
    }
}

impl Starting<'_> {
    /// A service gets its listener as stdin, so its port is bound and known before it starts.
    fn service(&mut self, name: &str, listener: TcpListener, arguments: &[&str]) -> Result<(), FleetError> {
        let mut all = vec!["service", "--name", name];
        all.extend(arguments);
        self.spawn(name.to_owned(), &all, Stdio::from(OwnedFd::from(listener)), &[]).map(drop)
    }

    async fn agent(
        &mut self,
        service: &str,
        target: SocketAddr,
        arguments: &[&str],
    ) -> Result<Bound, FleetError> {
        let identity = self.workspace.identity(service);
        let inbound = format!("http:127.0.0.1:0={target}");
        let identity = path_text(&identity)?;
        let mut all = vec!["agent", "run", "--identity", identity, "--inbound", &inbound];
        all.extend(["--admin", "127.0.0.1:0", "--proof", "127.0.0.1:0", "--log-format", "json"]);
        all.extend(arguments);
        let mut roles = vec!["inbound", "admin", "proof"];
        if arguments.contains(&"--outbound") {
            roles.push("outbound");
        }
        let program = child::agent_of(service);
        let mut ports = self.spawn(program.clone(), &all, Stdio::null(), &roles)?;
        let deadline = Instant::now() + START_DEADLINE;
        match timeout_at(deadline, ports.wait_for(BoundPorts::complete)).await {
            Ok(Ok(bound)) => Ok(Bound { program, ports: bound.clone() }),
            Ok(Err(_)) => Err(self.ended(program).await),
            Err(_) => Err(FleetError::Late { program, state: "listening" }),
        }
    }

    fn spawn(
        &mut self,
        program: String,
        arguments: &[&str],
        stdin: Stdio,
        roles: &[&'static str],
    ) -> Result<tokio::sync::watch::Receiver<BoundPorts>, FleetError> {
        let log = self.workspace.log(&program);
        let (child, ports) = child::spawn(arguments, stdin, &log, roles)
            .map_err(|source| FleetError::Start { program: program.clone(), source })?;
        self.children.push((program, child));
        Ok(ports)
    }

    /// Its stderr was closed, so it has ended or will end soon.
    async fn ended(&mut self, program: String) -> FleetError {
        let child = self.children.iter_mut().find(|(name, _)| *name == program);
        match child {
            Some((_, child)) => match child.wait().await {
                Ok(status) => FleetError::Ended { program, status },
                Err(source) => FleetError::Start { program, source },
            },
            None => FleetError::Late { program, state: "listening" },
        }
    }
}

fn listener() -> Result<(TcpListener, SocketAddr), FleetError> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|source| FleetError::Prepare { what: "a port on 127.0.0.1", source })
}

fn path_text(path: &Path) -> Result<&str, FleetError> {
    path.to_str().ok_or(FleetError::Prepare {
        what: "a temporary directory (its path is not UTF-8, set TMPDIR)",
        source: io::ErrorKind::InvalidFilename.into(),
    })
}
