//! The agent as a whole: binds its listeners, starts its parts, and ends them in order.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use hotcert_log::LogLimiter;
use hotcert_tls::{Identities, Reloader, StartError};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::admin::Admin;
use crate::admin::agent_status::AgentStatus;
use crate::admin::connections::{AdminConnections, Refusals};
use crate::admin::health::Health;
use crate::admin::metrics::{self, Metrics};
use crate::admin::proof::ProofListener;
use crate::config::settings::{SecretSource, Settings};
use crate::connection::handshake::result::HandshakeCounters;
use crate::connection::listener::BindError;
use crate::connection::memory::MemoryBudget;
use crate::connection::tasks::ConnectionTasks;
use crate::connection::tracker::ConnectionTracker;
use crate::proxy::authorization::NotAllowed;
use crate::proxy::context::{ProxyContext, RequestCounters};
use crate::proxy::inbound::app_connections::AppConnections;
use crate::proxy::inbound::strict_transport_security;
use crate::proxy::outbound::addresses::FailedAddresses;
use crate::proxy::request_latency::RequestLatencies;
use crate::runtime::bypass_check;
use crate::runtime::drain::Drain;
use crate::runtime::give_back::give_back;
use crate::runtime::listeners::Listeners;
use crate::runtime::self_check;
use crate::runtime::shutdown::Signals;
use crate::runtime::workers::Workers;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    Bind(Vec<BindError>),
    #[error("an essential task ended: {0}")]
    TaskEnded(String),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot start: {0}")]
    Identity(#[from] StartError),
}

impl From<BindError> for AgentError {
    fn from(error: BindError) -> Self {
        Self::Bind(vec![error])
    }
}

/// Runs the agent until it is told to stop.
pub fn run(settings: Settings) -> Result<ExitCode, AgentError> {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = control.block_on(run_until_stopped(settings))?;
    // Does not wait for blocking tasks, such as a name resolution or a read of a volume that hangs.
    control.shutdown_background();
    Ok(code)
}

async fn run_until_stopped(settings: Settings) -> Result<ExitCode, AgentError> {
    let mut signals = Signals::new()?;
    warn_of_settings(&settings);
    let listeners = Listeners::bind(&settings).map_err(AgentError::Bind)?;
    let self_check_target = listeners.self_check_target();
    let Listeners { admin, proof, routes } = listeners;
    let workers = Workers::start(settings.workers)?;
    let identities = start_reload(&settings)?;
    let (mut snapshots, self_checked) = (identities.snapshots(), identities.snapshots());
    let parts = Parts::new(settings, workers, identities)?;
    let mut essential = pin!(parts.start_essential());

    // Admin and proof are served until the process ends.
    let always = ConnectionTasks::new();
    let admin_server = parts.admin();
    admin.listen()?.serve(&[Handle::current()], &always, move |socket, from| {
        Arc::clone(&admin_server).serve(socket, from)
    });
    let has_identity = tokio::select! {
        first = snapshots.first() => first.is_some(),
        () = signals.next() => false,
        cause = &mut essential => return Err(AgentError::TaskEnded(cause)),
    };
    if !has_identity {
        info!("stopped before there was an identity");
        return Ok(ExitCode::SUCCESS);
    }

    let proof_server = ProofListener::new(parts.health.clone(), parts.admin_connections("proof"));
    proof.listen()?.serve(&parts.worker_handles(), &always, move |socket, from| {
        Arc::clone(&proof_server).serve(socket, from)
    });
    routes.serve(&parts.context, &parts.settings.allow, &parts.worker_handles())?;
    parts.start_bypass_check();
    tokio::spawn(give_back());
    // Only now is there a listener to connect to.
    tokio::spawn(self_check::run(self_checked, self_check_target, parts.status.clone()));

    tokio::select! {
        () = signals.next() => {}
        cause = &mut essential => return Err(AgentError::TaskEnded(cause)),
    }
    tokio::select! {
        () = parts.drain().run() => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            warn!("second signal to stop: exiting at once");
            hotcert_log::flush();
            std::process::exit(1);
        }
    }
}

/// What the parts of a running agent share.
struct Parts {
    settings: Settings,
    workers: Workers,
    context: Arc<ProxyContext>,
    status: AgentStatus,
    health: Health,
    bytes: metrics::ByteFamily,
    refusals: Refusals,
}

impl Parts {
    fn new(settings: Settings, workers: Workers, identities: Identities) -> std::io::Result<Self> {
        let access_log = settings.access_log.start()?;
        let status = AgentStatus::new();
        let (bytes, inbound_bytes, outbound_bytes) = metrics::byte_counters();
        let memory = MemoryBudget::new(settings.memory_budget, settings.memory_kept_for_each_side);
        let context = Arc::new(ProxyContext {
            identities,
            tracker: ConnectionTracker::new(settings.limits.clone()),
            handshakes: HandshakeCounters::default(),
            requests: RequestCounters::new(),
            latencies: RequestLatencies::default(),
            access_log,
            not_allowed: NotAllowed::default(),
            inbound_bytes,
            outbound_bytes,
            timeouts: settings.timeouts,
            failed_addresses: FailedAddresses::default(),
            hsts: settings.hsts.and_then(strict_transport_security),
            trusted_clients: settings.trusted_clients.clone(),
            app_connections: Arc::new(AppConnections::new(
                settings.limits.max_connections,
                settings.inbound.iter().any(|route| route.protocol.is_http()),
            )),
            inbound_tasks: ConnectionTasks::new(),
            outbound_tasks: ConnectionTasks::new(),
            log_limiter: LogLimiter::default(),
            app_memory: memory.of_app(),
            memory,
        });
        let health = Health { context: Arc::clone(&context), status: status.clone() };
        let refusals = Refusals::default();
        Ok(Self { settings, workers, context, status, health, bytes, refusals })
    }

    /// Starts the reaper, and reloads on SIGHUP. Without the reaper or the reload the agent would go on serving and
    /// never notice a change, so the returned future completes with the cause when one of them ends.
    fn start_essential(&self) -> impl Future<Output = String> + use<> {
        let identities = self.context.identities.clone();
        let reaper = tokio::spawn(self.context.tracker.clone().reap(identities.snapshots()));
        let (ended, hangup) = (identities.ended(), tokio::spawn(reload_on_hangup(identities)));
        async move {
            tokio::select! {
                error = ended => error.to_string(),
                end = hangup => end.unwrap_or_else(|_| "waiting for SIGHUP".into()),
                _ = reaper => "the connection reaper".into(),
            }
        }
    }

    fn admin(&self) -> Arc<Admin> {
        let runtimes = self.workers.handles().cloned().chain([Handle::current()]).collect();
        let bytes = self.bytes.clone();
        let metrics = Metrics::new(self.health.clone(), &self.context, bytes, &self.refusals, runtimes);
        let (probes, connections) = (self.settings.probes.clone(), self.admin_connections("admin"));
        Admin::new(self.health.clone(), metrics, probes, connections)
    }

    fn admin_connections(&self, listener: &'static str) -> AdminConnections {
        AdminConnections::new(listener, self.settings.descriptors.admin, self.refusals.clone())
    }

    fn worker_handles(&self) -> Vec<Handle> {
        self.workers.handles().cloned().collect()
    }

    fn start_bypass_check(&self) {
        let (routes, status) = (self.settings.inbound.clone(), self.status.clone());
        tokio::spawn(async move { bypass_check::run(&routes, status).await });
    }

    fn drain(&self) -> Drain {
        Drain {
            times: self.settings.shutdown,
            has_outbound: !self.settings.has_no_outbound(),
            context: Arc::clone(&self.context),
            status: self.status.clone(),
        }
    }
}

fn start_reload(settings: &Settings) -> Result<Identities, StartError> {
    let mut builder = Reloader::builder()
        .layout(settings.layout.clone())
        .client_auth(settings.client_auth)
        .revocation_grace(settings.policy.revocation_grace)
        .max_handshakes(settings.descriptors.handshakes)
        .poll_interval(settings.poll);
    if !settings.policy.serves {
        builder = builder.client_only();
    }
    for name in &settings.policy.expected_names {
        builder = builder.expect_name(name.clone());
    }
    if let Some(directory) = &settings.identity {
        builder = builder.directory(directory);
    }
    if let Some(SecretSource { secret, kubeconfig, silence }) = &settings.secret {
        builder = builder.kubernetes_secret_ref(secret.clone()).watch_silence(*silence);
        if let Some(path) = kubeconfig {
            builder = builder.kubeconfig(path);
        }
    }
    builder.start_without_waiting()
}

/// Returns only if the signal cannot be awaited.
async fn reload_on_hangup(identities: Identities) -> String {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return format!("cannot listen for SIGHUP: {error}"),
    };
    while hangup.recv().await.is_some() {
        info!("reading again on SIGHUP");
        identities.reload();
    }
    "waiting for SIGHUP".into()
}

fn warn_of_settings(settings: &Settings) {
    if settings.inbound.is_empty() && settings.has_no_outbound() {
        warn!(
            "none of --inbound, --outbound and --http-proxy is set: the identity is kept current, but no traffic is carried"
        );
    }
}
