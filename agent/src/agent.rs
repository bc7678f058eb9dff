//! The agent as a whole: binds what was asked for, starts the parts, and ends them in order.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::admin::Admin;
use crate::admin::proof::ProofListener;
use crate::complaints::Complaints;
use crate::handshake::Handshakes;
use crate::health::Health;
use crate::inbound::Inbound;
use crate::ledger::{Ledger, Order, Side};
use crate::listener::{BindError, Bound};
use crate::metrics::{self, Metrics};
use crate::outbound::{Forwarding, Tunnel};
use crate::peer::Peers;
use crate::places::Places;
use crate::plane::{OpenApps, Plane, Requests};
use crate::reload::{self, Reload};
use crate::self_check::{self, Dial};
use crate::settings::Settings;
use crate::shutdown::{Stopper, stop};
use crate::snapshot;
use crate::status::Status;
use crate::volume::Volume;
use crate::workers::Workers;

/// Of the connections there may be, the share that may be shaking hands: one in so many.
const HANDSHAKING_SHARE: usize = 4;
const MIN_HANDSHAKING: usize = 64;
/// How often a draining agent looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(50);

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
    let status = Status::new();
    let (bytes, inbound_bytes, outbound_bytes) = metrics::traffic();
    let plane = Arc::new(Plane {
        current: current.clone(),
        ledger: Ledger::new(settings.limits.clone()),
        peers: Peers::default(),
        handshakes: Handshakes::default(),
        requests: Requests::new(),
        inbound_bytes,
        outbound_bytes,
        timeouts: settings.timeouts,
        shaking_hands: Places::new(
            (settings.limits.max_connections / HANDSHAKING_SHARE).max(MIN_HANDSHAKING),
        ),
        outbound_apps: OpenApps::default(),
        complaints: Complaints::default(),
    });
    let health = Health { plane: Arc::clone(&plane), status: status.clone() };
    let runtimes = workers.handles().cloned().chain([Handle::current()]).collect();
    let metrics = Metrics::new(health.clone(), &plane, bytes, runtimes);

    let dial = listeners.own_dial();
    let sweeping = tokio::spawn(plane.ledger.clone().sweep(current.clone()));
    let unseen = current.clone();
    let reloading = tokio::spawn(reload::run(Reload {
        volume: Volume::new(&settings.identity, settings.layout.clone()),
        policy: settings.policy.clone(),
        client_auth: settings.client_auth,
        poll: settings.poll,
        publisher,
        status: status.clone(),
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
    let serve_admin = Admin::new(health.clone(), metrics);
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
        let inbound = Inbound::new(Arc::clone(&plane), route, settings.allow.clone());
        bound.listen().map_err(bind_error)?.serve(&handles, &inbound_open, move |socket, from| {
            Arc::clone(&inbound).connection(socket, from)
        });
    }
    for (bound, route) in outbound {
        let listening = bound.listen().map_err(bind_error)?;
        if route.http {
            let forwarding = Arc::new(Forwarding::new(Arc::clone(&plane), Some(route.upstream)));
            listening.serve(&handles, &outbound_open, move |socket, from| {
                Arc::clone(&forwarding).connection(socket, from)
            });
        } else {
            let tunnel = Arc::new(Tunnel { plane: Arc::clone(&plane), upstream: route.upstream });
            listening.serve(&handles, &outbound_open, move |socket, from| {
                Arc::clone(&tunnel).connection(socket, from)
            });
        }
    }
    if let Some(bound) = http_proxy {
        let forwarding = Arc::new(Forwarding::new(Arc::clone(&plane), None));
        bound.listen().map_err(bind_error)?.serve(&handles, &outbound_open, move |socket, from| {
            Arc::clone(&forwarding).connection(socket, from)
        });
    }

    // Only now is there something to dial.
    tokio::spawn(self_check::run(unseen, dial, status.clone(), plane.ledger.clone()));

    tokio::select! {
        () = signals.next() => {}
        cause = &mut broken => return Err(AgentError::Broken(cause)),
    }
    let drain = drain(&settings, &plane, &status, &close_inbound, &close_outbound);
    tokio::select! {
        () = drain => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            warn!("told to stop twice: ending at once");
            std::process::exit(1);
        }
    }
}

/// Unready at once; inbound taken for a while yet; then inbound drained with outbound still there
/// for the app; at last outbound.
async fn drain(
    settings: &Settings,
    plane: &Plane,
    status: &Status,
    close_inbound: &Stopper,
    close_outbound: &Stopper,
) {
    let times = settings.shutdown;
    let end = Instant::now() + times.grace;
    status.update(|report| report.draining = true);
    info!(delay = ?times.delay, "draining: unready, new connections still taken");
    let closing = Instant::now() + times.delay.min(times.grace);
    while Instant::now() < closing {
        plane.ledger.order_all(Side::Inbound, Order::LastRequest);
        tokio::time::sleep(DRAIN_TICK.min(closing.saturating_duration_since(Instant::now()))).await;
    }

    close_inbound.stop();
    plane.ledger.order_all(Side::Inbound, Order::Finish);
    let open = plane.ledger.count(Side::Inbound, 0).total();
    info!(open, "inbound closed to new connections");
    let mut quiet_since = None;
    while Instant::now() < end {
        let inbound = plane.ledger.count(Side::Inbound, 0).total() + plane.shaking_hands.taken();
        let outbound = plane.outbound_apps.count();
        if inbound == 0 && outbound == 0 {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= times.outbound_linger || settings.has_no_outbound() {
                break;
            }
        } else {
            quiet_since = None;
            // Those that came in while it was closing.
            plane.ledger.order_all(Side::Inbound, Order::Finish);
        }
        tokio::time::sleep(DRAIN_TICK).await;
    }
    close_outbound.stop();
    let cut = plane.ledger.count(Side::Inbound, 0).total() + plane.outbound_apps.count();
    match cut {
        0 => info!("drained"),
        _ => {
            warn!(connections = cut, grace = ?times.grace, "the grace period is over: cutting what is still open")
        }
    }
}

struct Listeners {
    admin: Bound,
    proof: Bound,
    inbound: Vec<(Bound, crate::inbound::InboundRoute)>,
    outbound: Vec<(Bound, crate::outbound::OutboundRoute)>,
    http_proxy: Option<Bound>,
}

impl Listeners {
    /// Binds all, or says all that could not be bound.
    fn bind(settings: &Settings) -> Result<Self, Vec<BindError>> {
        let mut errors = Vec::new();
        let mut bind = |role, address| Bound::bind(role, address).map_err(|error| errors.push(error)).ok();
        let admin = bind("admin", settings.admin);
        let proof = bind("proof", settings.proof);
        let inbound = settings
            .inbound
            .iter()
            .filter_map(|route| Some((bind("inbound", route.listen)?, route.clone())))
            .collect();
        let outbound = settings
            .outbound
            .iter()
            .filter_map(|route| Some((bind("outbound", route.listen)?, route.clone())))
            .collect();
        let http_proxy = settings.http_proxy.and_then(|listen| bind("http-proxy", listen));
        match (admin, proof) {
            (Some(admin), Some(proof)) if errors.is_empty() => {
                Ok(Self { admin, proof, inbound, outbound, http_proxy })
            }
            _ => Err(errors),
        }
    }

    /// Where the agent looks at what it serves: as the app's clients do, if there are any.
    fn own_dial(&self) -> Dial {
        match self.inbound.first() {
            Some((bound, _)) => Dial::Inbound(bound.dial_address()),
            None => Dial::Proof(self.proof.dial_address()),
        }
    }
}

fn bind_error(error: BindError) -> AgentError {
    AgentError::Bind(vec![error])
}

/// SIGTERM and SIGINT alike.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn log_settings(settings: &Settings) {
    fn list<T: ToString>(values: &[T]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
    let Settings { limits, timeouts, shutdown, .. } = settings;
    let span = humantime::format_duration;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = %settings.identity.display(),
        inbound = list(&settings.inbound),
        outbound = list(&settings.outbound),
        allow = list(&settings.allow.0),
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
