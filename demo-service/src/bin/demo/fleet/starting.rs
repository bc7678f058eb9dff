//! A fleet that is being started: its children, and the ports that they are given or bind.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use super::{AgentPorts, FleetError, START_DEADLINE, Workspace};
use crate::child::{self, BoundPorts};

/// A fleet that is being started.
pub(super) struct Starting<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) children: Vec<(String, Child)>,
}

/// An agent that has bound its ports.
pub(super) struct Bound {
    program: String,
    ports: BoundPorts,
}

impl Bound {
    pub(super) fn port(&self, role: &'static str, number: usize) -> Result<SocketAddr, FleetError> {
        let late = || FleetError::Late { program: self.program.clone(), state: role };
        self.ports.of(role).get(number).copied().ok_or_else(late)
    }

    pub(super) fn ports(&self) -> Result<AgentPorts, FleetError> {
        Ok(AgentPorts {
            http: self.port("inbound", 0)?,
            grpc: self.port("inbound", 1)?,
            admin: self.port("admin", 0)?,
            proof: self.port("proof", 0)?,
        })
    }
}

/// The listeners of an HTTP and a gRPC service, which get them as stdin: their ports are bound and known before they
/// start.
pub(super) struct Apps {
    http: (TcpListener, SocketAddr),
    grpc: (TcpListener, SocketAddr),
}

impl Apps {
    pub(super) fn bind() -> Result<Self, FleetError> {
        Ok(Self { http: listener()?, grpc: listener()? })
    }
}

impl Starting<'_> {
    /// `upstreams`: of the HTTP and of the gRPC service.
    pub(super) fn services(
        &mut self,
        name: &str,
        apps: Apps,
        upstreams: Option<[SocketAddr; 2]>,
    ) -> Result<(), FleetError> {
        let upstreams = upstreams.map(|both| both.map(|address| format!("http://{address}/")));
        let [http, grpc] = upstreams.map_or([None, None], |both| both.map(Some));
        self.service(name, name.to_owned(), apps.http.0, &[], http.as_deref())?;
        self.service(name, format!("{name}-grpc"), apps.grpc.0, &["--grpc"], grpc.as_deref())
    }

    fn service(
        &mut self,
        name: &str,
        program: String,
        listener: TcpListener,
        arguments: &[&str],
        upstream: Option<&str>,
    ) -> Result<(), FleetError> {
        let mut all = vec!["service", "--name", name];
        all.extend(arguments);
        all.extend(upstream.into_iter().flat_map(|url| ["--upstream", url]));
        self.spawn(program, &all, Stdio::from(OwnedFd::from(listener)), &[]).map(drop)
    }

    /// `outbound`: its routes.
    pub(super) async fn agent(
        &mut self,
        service: &str,
        apps: &Apps,
        outbound: &[String],
    ) -> Result<Bound, FleetError> {
        let identity = self.workspace.identity(service);
        let identity = path_text(&identity)?;
        let inbound =
            [format!("http:127.0.0.1:0={}", apps.http.1), format!("h2c:127.0.0.1:0={}", apps.grpc.1)];
        let mut all = vec!["agent", "run", "--identity", identity];
        all.extend(inbound.iter().flat_map(|route| ["--inbound", route.as_str()]));
        all.extend(outbound.iter().flat_map(|route| ["--outbound", route.as_str()]));
        all.extend(["--admin", "127.0.0.1:0", "--proof", "127.0.0.1:0", "--log-format", "json"]);
        let mut roles = vec!["admin", "proof"];
        roles.extend(inbound.iter().map(|_| "inbound"));
        roles.extend(outbound.iter().map(|_| "outbound"));
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
