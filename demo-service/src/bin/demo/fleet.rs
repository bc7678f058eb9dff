//! The fleet: storefront and payments, each an HTTP and a gRPC service behind one agent, as six child processes of this
//! program.
//!
//! Children are this executable again. They end with it, however it ends: they are killed when the fleet is dropped, and
//! by the kernel when this process dies. Their stderr goes to a log file each, which is kept after a failure; private
//! keys are not. Once both agents are ready they are registered with the control plane, as on any machine without a
//! cluster.

mod starting;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::child;
use crate::client::ServiceAddress;
use crate::identity::{NAMESPACE, PAYMENTS, STOREFRONT, dns_name, secret};
use starting::{Apps, Starting};

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
    /// To the HTTP service.
    http: SocketAddr,
    /// To the gRPC service.
    grpc: SocketAddr,
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
        let payments_apps = Apps::bind()?;
        let storefront_apps = Apps::bind()?;

        let payments = fleet.agent(PAYMENTS, &payments_apps, &[]).await?;
        fleet.services(PAYMENTS, payments_apps, None)?;
        let to_payments = payments.ports()?;
        let routes = [to_payments.http, to_payments.grpc]
            .map(|address| format!("http:127.0.0.1:0={address}#{payments_name}"));
        let storefront = fleet.agent(STOREFRONT, &storefront_apps, &routes).await?;
        let upstreams = [storefront.port("outbound", 0)?, storefront.port("outbound", 1)?];
        fleet.services(STOREFRONT, storefront_apps, Some(upstreams))?;

        let mut fleet = Self {
            children: fleet.children,
            storefront: storefront.ports()?,
            payments: to_payments,
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

    /// The address of an HTTP service for clients.
    pub fn service_address(&self, service: &str) -> ServiceAddress {
        ServiceAddress { address: self.ports(service).http, name: dns_name(service) }
    }

    /// The address of a gRPC service for clients.
    pub fn grpc_address(&self, service: &str) -> ServiceAddress {
        ServiceAddress { address: self.ports(service).grpc, name: dns_name(service) }
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
