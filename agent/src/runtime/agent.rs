//! The agent as a whole: binds what was asked for, starts the parts, and ends them in order.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::runtime::drain::drain;
use crate::runtime::listeners::Listeners;

use crate::admin::Admin;
use crate::admin::health::Health;
use crate::admin::metrics::{self, Metrics};
use crate::admin::proof::ProofListener;
use crate::admin::status::AgentStatus;
use crate::config::settings::Settings;
use crate::connection::handshake::Handshakes;
use crate::connection::limiter::Limiter;
use crate::connection::listener::BindError;
use crate::connection::tracker::ConnectionTracker;
use crate::proxy::context::{OpenApps, ProxyContext, Requests};
use crate::proxy::inbound::Inbound;
use crate::proxy::log_limiter::LogLimiter;
use crate::proxy::outbound::{Forwarding, Tunnel};
use crate::runtime::bypass_check;
use crate::runtime::self_check;
use crate::runtime::shutdown::{Signals, stop};
use crate::runtime::workers::Workers;
use crate::tls::peer::Peers;
use crate::tls::reload::status::ReloadStatus;
use crate::tls::reload::{self, Reload};
use crate::tls::snapshot;
use crate::tls::source::directory::Volume;

/// Of the connections there may be, the share that may be shaking hands: one in so many.
const HANDSHAKING_SHARE: usize = 4;
const MIN_HANDSHAKING: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    Bind(Vec<BindError>),
    #[error("a part that must not end did, so the agent ends with it: {0}")]
    Broken(String),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// Runs the agent until it is told to stop.
pub fn run(settings: Settings) -> Result<ExitCode, AgentError> {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = control.block_on(run_parts(settings))?;
    // What still blocks (a name being resolved, a volume that hangs) is not waited for.
    control.shutdown_background();
    Ok(code)
}

async fn run_parts(settings: Settings) -> Result<ExitCode, AgentError> {
    let mut signals = Signals::new()?;
    log_settings(&settings);
    let listeners = Listeners::bind(&settings).map_err(AgentError::Bind)?;
    let workers = Workers::start(settings.workers)?;

    let (publisher, mut current) = snapshot::channel();
    let (status, reload_status) = (AgentStatus::new(), ReloadStatus::default());
    let (bytes, inbound_bytes, outbound_bytes) = metrics::traffic();
    let context = Arc::new(ProxyContext {
        current: current.clone(),
        tracker: ConnectionTracker::new(settings.limits.clone()),
        peers: Peers::default(),
        handshakes: Handshakes::default(),
        requests: Requests::new(),
        inbound_bytes,
        outbound_bytes,
        timeouts: settings.timeouts,
        shaking_hands: Limiter::new(
            (settings.limits.max_connections / HANDSHAKING_SHARE).max(MIN_HANDSHAKING),
        ),
        outbound_apps: OpenApps::default(),
        log_limiter: LogLimiter::default(),
    });
    let health =
        Health { context: Arc::clone(&context), status: status.clone(), reload: reload_status.clone() };
    let runtimes = workers.handles().cloned().chain([Handle::current()]).collect();
    let metrics = Metrics::new(health.clone(), &context, bytes, runtimes);

    let dial = listeners.own_dial();
    let sweeping = tokio::spawn(context.tracker.clone().sweep(current.clone()));
    let unseen = current.clone();
    let reloading = tokio::spawn(reload::run(Reload {
        volume: settings.identity.as_ref().map(|directory| Volume::new(directory, settings.layout.clone())),
        secret: settings.secret.clone(),
        policy: settings.policy.clone(),
        client_auth: settings.client_auth,
        poll: settings.poll,
        publisher,
        status: reload_status,
    }));
    // Without either of them the agent would go on serving and never notice a change.
    let broken = async move {
        tokio::select! {
            end = reloading => match end {
                Ok(Err(error)) => error.to_string(),
                _ => "the reload loop ended".into(),
            },
            _ = sweeping => "the sweeper ended".into(),
        }
    };
    tokio::pin!(broken);

    let (_never, always) = stop();
    let Listeners { admin, proof, inbound, outbound, http_proxy } = listeners;
    let here = [Handle::current()];
    let serve_admin = Admin::new(health.clone(), metrics, settings.probes.clone());
    admin
        .listen()
        .map_err(bind_error)?
        .serve(&here, &always, move |socket, from| Arc::clone(&serve_admin).connection(socket, from));

    let first = tokio::select! {
        first = current.first() => first.is_some(),
        () = signals.next() => false,
        cause = &mut broken => return Err(AgentError::Broken(cause)),
    };
    if !first {
        info!("stopped before there was an identity");
        return Ok(ExitCode::SUCCESS);
    }
    let (close_inbound, inbound_open) = stop();
    let (close_outbound, outbound_open) = stop();
    let handles: Vec<Handle> = workers.handles().cloned().collect();
    let serve_proof = ProofListener::new(health);
    proof
        .listen()
        .map_err(bind_error)?
        .serve(&handles, &always, move |socket, from| Arc::clone(&serve_proof).connection(socket, from));
    for (bound, route) in inbound {
        let inbound = Inbound::new(Arc::clone(&context), route, settings.allow.clone());
        bound.listen().map_err(bind_error)?.serve(&handles, &inbound_open, move |socket, from| {
            Arc::clone(&inbound).connection(socket, from)
        });
    }
    for (bound, route) in outbound {
        let listening = bound.listen().map_err(bind_error)?;
        if route.http {
            let forwarding = Arc::new(Forwarding::new(Arc::clone(&context), Some(route.upstream)));
            listening.serve(&handles, &outbound_open, move |socket, from| {
                Arc::clone(&forwarding).connection(socket, from)
            });
        } else {
            let tunnel = Arc::new(Tunnel { context: Arc::clone(&context), upstream: route.upstream });
            listening.serve(&handles, &outbound_open, move |socket, from| {
                Arc::clone(&tunnel).connection(socket, from)
            });
        }
    }
    if let Some(bound) = http_proxy {
        let forwarding = Arc::new(Forwarding::new(Arc::clone(&context), None));
        bound.listen().map_err(bind_error)?.serve(&handles, &outbound_open, move |socket, from| {
            Arc::clone(&forwarding).connection(socket, from)
        });
    }

    let (routes, report) = (settings.inbound.clone(), status.clone());
    tokio::spawn(async move { bypass_check::watch(&routes, report).await });

    // Only now is there something to dial.
    tokio::spawn(self_check::run(unseen, dial, status.clone(), context.tracker.clone()));

    tokio::select! {
        () = signals.next() => {}
        cause = &mut broken => return Err(AgentError::Broken(cause)),
    }
    let drain = drain(&settings, &context, &status, &close_inbound, &close_outbound);
    tokio::select! {
        () = drain => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            warn!("told to stop twice: ending at once");
            std::process::exit(1);
        }
    }
}

fn bind_error(error: BindError) -> AgentError {
    AgentError::Bind(vec![error])
}

fn log_settings(settings: &Settings) {
    fn list<T: ToString>(values: &[T]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
    let Settings { limits, timeouts, shutdown, .. } = settings;
    let span = humantime::format_duration;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = settings.identity.as_deref().map(|path| path.display().to_string()),
        secret = settings.secret.as_ref().map(|follow| follow.secret.to_string()),
        inbound = list(&settings.inbound),
        outbound = list(&settings.outbound),
        allow = list(&settings.allow.0),
        probes = list(&settings.probes),
        client_auth = if settings.policy.public_server { "none" } else { "require" },
        workers = settings.workers,
        poll_interval = %span(settings.poll),
        max_connections = limits.max_connections,
        handshake_timeout = %span(timeouts.handshake),
        connect_timeout = %span(timeouts.connect),
        request_timeout = %span(limits.request_head),
        idle_timeout = %span(limits.idle),
        max_age = %span(limits.max_age),
        drain_after = %span(limits.drain_after),
        root_drain = %span(limits.root_drain),
        shutdown_delay = %span(shutdown.delay),
        shutdown_grace = %span(shutdown.grace),
        outbound_linger = %span(shutdown.outbound_linger),
        "starting"
    );
    if settings.inbound.is_empty() && settings.has_no_outbound() {
        warn!(
            "neither --inbound nor --outbound nor --http-proxy: the identity is followed, but carries no traffic"
        );
    }
}
