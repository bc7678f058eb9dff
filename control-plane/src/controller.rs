//! `hotcert controller`: the program that runs in the cluster. It issues, publishes and rolls over, one
//! replica at a time; and every replica answers the admission webhook, which puts the agent into pods.
//!
//! | module | what it is |
//! |---|---|
//! | [`args`] | the command line, judged |
//! | [`issuing`] | the loop over certificates and roots, where this replica leads |
//! | [`directory`] | the same for one machine, and nothing else |
//! | [`webhook`] | HTTPS for API servers, and [`review`], what they ask |
//! | [`https`] | how both listeners are served; [`notifying`], what goes out and comes in |
//! | [`certificate`] | the webhook's own certificate, renewed in the Secret and the `caBundle` |
//! | [`sidecar`] | which kind of sidecar the cluster's nodes take |
//! | [`health`], [`metrics`], [`admin`] | what it says of itself |
//!
//! The certificate goes out through the Secret and comes back in through the agent's own reload
//! loop: judged, rehearsed, swapped at once, looked at from outside.

mod admin;
mod admission_review;
mod args;
mod directory;
mod health;
mod https;
mod leader;
mod metrics;
mod notifications;
mod sidecar;
mod webhook;
mod webhook_certificate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hotcert_agent::admin::status::AgentStatus;
use hotcert_agent::connection::listener::{BindError, Bound};
use hotcert_agent::connection::tracker::{ConnectionTracker, Limits};
use hotcert_agent::runtime::self_check::{self, SelfCheckTarget};
use hotcert_agent::runtime::shutdown::{Signals, Stopper, stop};
use hotcert_agent::tls::config::ClientAuth;
use hotcert_agent::tls::credential::Layout;
use hotcert_agent::tls::identity::Policy;
use hotcert_agent::tls::reload::status::ReloadStatus;
use hotcert_agent::tls::reload::{self, Reload};
use hotcert_agent::tls::snapshot::{self, Publisher};
use hotcert_agent::tls::source::kubernetes::{SecretRef, SecretWatcher};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use admin::Admin;
pub use args::ControllerArgs;
use args::Settings;
use health::{Health, Status};
use leader::LeaderLoop;
use metrics::{Counts, Metrics};
use notifications::Notifying;
use webhook::Webhook;
use webhook_certificate::Certificate;

use crate::store::kubernetes::client::{self, ClusterError};
use crate::store::kubernetes::{KubernetesStore, RECHECK};

/// After the delay, what requests in flight have left; an API server waits for no more than this.
const GRACE: Duration = Duration::from_secs(10);
const WORKERS: usize = 2;
/// How often the Secret is looked at without a watch.
const POLL: Duration = Duration::from_secs(5);
/// API servers say about once a minute that nothing has changed.
const SILENCE: Duration = Duration::from_secs(90);

#[derive(Debug, thiserror::Error)]
enum ControllerError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    Bind(Vec<BindError>),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("a part that must not end did, so the controller ends with it: {0}")]
    Broken(String),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

pub fn main(args: &ControllerArgs) -> ExitCode {
    hotcert_agent::runtime::log::start(args.log_format, "hotcert");
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(errors) => return hotcert_agent::cli::refuse(&errors),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let ended = runtime.map_err(ControllerError::Io).and_then(|runtime| {
        let ended = runtime.block_on(async {
            match settings.dir.clone() {
                Some(dir) => directory::run(settings, &dir).await,
                None => run(settings).await,
            }
        });
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), ControllerError> {
    let mut signals = Signals::new()?;
    let (webhook_listener, admin_listener) = bind(&settings)?;
    let notifying = Notifying::start(&settings).map_err(|error| ControllerError::Bind(vec![error]))?;
    let kubeconfig = settings.kubeconfig.clone().or_else(client::kubeconfig_outside_a_cluster);
    let client = client::client(kubeconfig.as_deref()).await?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    log_settings(&settings, &namespace);

    let (publisher, mut current) = snapshot::channel();
    let (decide, mut sidecar) = watch::channel(None);
    let (status, reload_status, counts) = (Status::default(), ReloadStatus::default(), Counts::default());
    let agent_status = AgentStatus::new();
    let certificate = Certificate {
        client: client.clone(),
        namespace: namespace.clone(),
        service: settings.webhook_service.clone(),
        webhook: settings.webhook_name.clone(),
        timing: settings.timing,
        status: status.clone(),
    };
    let issuing_counts = crate::runtime::reconcile::Counts::default();
    let store = Arc::new(KubernetesStore::start(client.clone(), namespace.clone(), settings.nudge, RECHECK));
    let outside = (notifying.dispatcher(), notifying.external_sync());
    let counted = issuing_counts.clone();
    let issuing =
        LeaderLoop::new(client.clone(), &namespace, Arc::clone(&store), outside, settings.nudge, counted);
    let mut metrics = Metrics::new(&counts, &issuing_counts, &reload_status);
    metrics.register(|registry| notifying.register(registry));
    let leading = issuing.leading.clone();
    let (resign, resigned) = watch::channel(false);
    let (gave_back, mut given_back) = watch::channel(false);
    let reload = reload(namespace, kubeconfig, publisher, reload_status.clone());
    let deciding = settings.sidecar;
    let broken = async move {
        let parts = [
            tokio::spawn(async move {
                certificate.run().await;
                "renewing the certificate ended".to_owned()
            }),
            tokio::spawn(async move {
                let end = reload::run(reload).await;
                format!("following the certificate ended: {end:?}")
            }),
            tokio::spawn(notifying.receive(store)),
            tokio::spawn(async move {
                sidecar::follow(deciding, client, decide).await;
                std::future::pending().await
            }),
            tokio::spawn(async move {
                issuing.run(resigned.clone()).await;
                gave_back.send_replace(true);
                if *resigned.borrow() {
                    std::future::pending::<()>().await;
                }
                "issuing ended".to_owned()
            }),
        ];
        let (end, ..) = futures_util::future::select_all(parts).await;
        ControllerError::Broken(end.unwrap_or_else(|error| error.to_string()))
    };
    tokio::pin!(broken);

    let health = Health {
        current: current.clone(),
        status: status.clone(),
        reload: reload_status.clone(),
        self_check: agent_status.clone(),
        sidecar: sidecar.clone(),
        leading,
        counts: counts.clone(),
    };
    let here = [Handle::current()];
    let (_never, always) = stop();
    let admin = Admin::new(health, metrics);
    listen(admin_listener)?
        .serve(&here, &always, move |socket, from| Arc::clone(&admin).connection(socket, from));

    // Nothing answers as if there were a certificate, and nothing is injected on a guess.
    let unseen = current.clone();
    let started = tokio::select! {
        started = async { current.first().await.is_some() && sidecar.wait_for(Option::is_some).await.is_ok() } => started,
        () = signals.next() => false,
        error = &mut broken => return Err(error),
    };
    if !started {
        info!("stopped before there was a certificate");
        return Ok(());
    }
    let (close, open) = stop();
    let (end, not_ended) = stop();
    let webhook = Webhook::new(current, settings.agent_image.clone(), sidecar, counts, not_ended);
    let dial = SelfCheckTarget::Inbound(webhook_listener.dial_address());
    let serving = Arc::clone(&webhook);
    listen(webhook_listener)?
        .serve(&here, &open, move |socket, from| Arc::clone(&serving).connection(socket, from));
    tokio::spawn(self_check::run(unseen, dial, agent_status, unused_tracker()));

    tokio::select! {
        () = signals.next() => {}
        error = &mut broken => return Err(error),
    }
    // Whoever leads next need not wait for the end of the lease.
    resign.send_replace(true);
    let done = async {
        drain(&settings, &status, &webhook, &close, &end).await;
        let _ = given_back.wait_for(|given_back| *given_back).await;
    };
    tokio::select! {
        () = done => Ok(()),
        () = signals.next() => {
            warn!("told to stop twice: ending at once");
            std::process::exit(1);
        }
    }
}

/// Unready at once; called for a while yet, until nobody knows this pod's address; then the requests
/// in flight.
async fn drain(settings: &Settings, status: &Status, webhook: &Webhook, close: &Stopper, end: &Stopper) {
    status.update(|report| report.draining = true);
    webhook.close_after_next_response();
    info!(delay = ?settings.shutdown_delay, "draining: unready, new connections still taken");
    tokio::time::sleep(settings.shutdown_delay).await;
    close.stop();
    end.stop();
    match tokio::time::timeout(GRACE, webhook.ended()).await {
        Ok(()) => info!("drained"),
        Err(_) => warn!(grace = ?GRACE, "the grace period is over: cutting what is still open"),
    }
}

/// Both addresses, or all that could not be bound.
fn bind(settings: &Settings) -> Result<(Bound, Bound), ControllerError> {
    let webhook = Bound::bind("webhook", settings.webhook_listen);
    let admin = Bound::bind("admin", settings.admin);
    match (webhook, admin) {
        (Ok(webhook), Ok(admin)) => Ok((webhook, admin)),
        (webhook, admin) => {
            Err(ControllerError::Bind(webhook.err().into_iter().chain(admin.err()).collect()))
        }
    }
}

fn listen(bound: Bound) -> Result<hotcert_agent::connection::listener::Listening, ControllerError> {
    bound.listen().map_err(|error| ControllerError::Bind(vec![error]))
}

/// API servers show no certificate of their own, and judge ours by the `caBundle`.
fn reload(
    namespace: String,
    kubeconfig: Option<PathBuf>,
    publisher: Publisher,
    status: ReloadStatus,
) -> Reload {
    let secret = SecretRef { namespace: Some(namespace), name: webhook_certificate::SECRET.into() };
    Reload {
        volume: None,
        secret: Some(SecretWatcher { secret, layout: Layout::default(), kubeconfig, silence: SILENCE }),
        policy: Policy { public_server: true, serves: true, ..Policy::default() },
        client_auth: ClientAuth::None,
        poll: POLL,
        publisher,
        status,
    }
}

/// The self-check asks it whether there is room; the webhook keeps room for itself.
fn unused_tracker() -> ConnectionTracker {
    let never = Duration::MAX;
    ConnectionTracker::new(Limits {
        max_connections: usize::MAX,
        idle: never,
        max_age: never,
        request_head: never,
        drain_after: never,
        root_drain: never,
    })
}

fn log_settings(settings: &Settings, namespace: &str) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace,
        agent_image = settings.agent_image,
        sidecar = ?settings.sidecar,
        webhook = settings.webhook_name,
        service = settings.webhook_service,
        nudge = settings.nudge,
        lifetime = %humantime::format_duration(settings.timing.lifetime),
        overlap = %humantime::format_duration(settings.timing.overlap),
        shutdown_delay = %humantime::format_duration(settings.shutdown_delay),
        "starting"
    );
}
