//! `hotcert controller` in a cluster: binds, starts every task, serves, and drains on SIGTERM.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hotcert_tls::{Identities, Reloader, SecretRef, StartError};
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admin::Admin;
use super::admin_connections::AdminConnections;
use super::args::Settings;
use super::error::ControllerError;
use super::health::Health;
use super::leader::LeaderReconciler;
use super::listener::Bound;
use super::metrics::Metrics;
use super::refusals::Refusals;
use super::self_check;
use super::status::Status;
use super::webhook::Webhook;
use super::webhook_certificate::{SECRET_NAME, WebhookCertificate};
use crate::api::duration;
use crate::controller::native_sidecar::{self, SidecarDecision};
use crate::controller::notification_services::NotificationServices;
use crate::controller::signals::{Signals, reload_on_hangup};
use crate::controller::webhook_counters::WebhookCounters;
use crate::proof::{PROBER, Prober};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::kubernetes::client;
use crate::store::kubernetes::{KubernetesStore, RECHECK};

/// How long requests in flight may take after the shutdown delay; the longest webhook timeout of an API server.
const GRACE: Duration = Duration::from_secs(10);
/// API servers send a bookmark about once a minute even if nothing changes.
const WATCH_SILENCE: Duration = Duration::from_secs(90);

pub async fn run(settings: Settings) -> Result<(), ControllerError> {
    let mut signals = Signals::new()?;
    let (webhook_listener, admin_listener) = bind(&settings)?;
    let refusals = Refusals::default();
    let notifications = NotificationServices::start(&settings, &refusals)?;
    let kubeconfig = settings.kubeconfig.clone().or_else(client::kubeconfig_outside_a_cluster);
    let client = client::client(kubeconfig.as_deref()).await?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    log_settings(&settings, &namespace);

    let identities = reload(&namespace, kubeconfig.as_deref())?;
    let (decide_sidecar, mut sidecar) = watch::channel(None);
    let (report_self_check, self_check) = watch::channel(None);
    let status = Status::default();
    let counters = WebhookCounters::default();
    let reconcile_metrics = ReconcileMetrics::default();
    let store = Arc::new(KubernetesStore::start(client.clone(), namespace.clone(), settings.nudge, RECHECK));
    let reconciler =
        Reconciler::new(Arc::clone(&store), Prober::new(PROBER), settings.nudge, reconcile_metrics.clone())
            .with_external(notifications.dispatcher(), notifications.external_sync())
            .with_cluster_domain(settings.cluster_domain.clone());
    let leader = LeaderReconciler::new(client.clone(), &namespace, reconciler, reconcile_metrics.clone());
    let mut metrics = Metrics::new(&counters, &reconcile_metrics, &identities);
    metrics.register(|registry| notifications.register(registry));
    metrics.register(|registry| refusals.register(registry));
    let health = Health {
        identities: identities.clone(),
        status: status.clone(),
        self_check,
        sidecar: sidecar.clone(),
        leading: leader.leading.clone(),
        counters: counters.clone(),
        settings_rejected: notifications.rejected(),
    };

    let (resign, resigned) = watch::channel(false);
    let (release, mut released) = watch::channel(false);
    let tasks = vec![
        spawn_certificate(&settings, &client, &namespace, &status),
        spawn_end_of_reload(identities.clone()),
        tokio::spawn(notifications.run_receiver(store)),
        spawn_sidecar_detection(&settings, client, decide_sidecar),
        spawn_leader(leader, resigned, release),
    ];
    let task_ended = async move {
        let (end, ..) = futures_util::future::select_all(tasks).await;
        ControllerError::TaskEnded(end.unwrap_or_else(|error| error.to_string()))
    };
    tokio::pin!(task_ended);

    let admin = Admin::new(health, metrics, AdminConnections::new(&refusals));
    admin_listener.serve(CancellationToken::new(), move |socket, from| {
        Arc::clone(&admin).serve_connection(socket, from)
    })?;

    // The webhook does not listen without a certificate, and injects nothing before the sidecar kind is known.
    let mut current = identities.snapshots();
    let started = tokio::select! {
        started = async { current.first().await.is_some() && sidecar.wait_for(Option::is_some).await.is_ok() } => started,
        () = signals.next() => false,
        error = &mut task_ended => return Err(error),
    };
    if !started {
        info!("stopped before the webhook had a certificate");
        return end_after(resign_lease(&resign, &mut released), &mut signals).await;
    }
    let (stop_accepting, end_connections) = (CancellationToken::new(), CancellationToken::new());
    let webhook = Webhook::new(
        &identities,
        settings.agent_image.clone(),
        sidecar,
        counters,
        refusals.of("webhook"),
        end_connections.clone(),
    );
    let own_address = webhook_listener.dial_address();
    let serving = Arc::clone(&webhook);
    webhook_listener.serve(stop_accepting.clone(), move |socket, from| {
        Arc::clone(&serving).serve_connection(socket, from)
    })?;
    tokio::spawn(reload_on_hangup(identities.clone()));
    tokio::spawn(self_check::run(identities.snapshots(), own_address, report_self_check));

    tokio::select! {
        () = signals.next() => {}
        error = &mut task_ended => return Err(error),
    }
    let resigned = resign_lease(&resign, &mut released);
    let drained = drain(&settings, &status, &webhook, &stop_accepting, &end_connections);
    let shutdown = async {
        tokio::join!(resigned, drained);
    };
    end_after(shutdown, &mut signals).await
}

/// Ends the work of a leader and gives up the lease: the next leader need not wait for it to expire.
async fn resign_lease(resign: &watch::Sender<bool>, released: &mut watch::Receiver<bool>) {
    resign.send_replace(true);
    let _ = released.wait_for(|released| *released).await;
}

/// Ends with `shutdown`, or at once at another signal.
async fn end_after(shutdown: impl Future<Output = ()>, signals: &mut Signals) -> Result<(), ControllerError> {
    tokio::select! {
        () = shutdown => Ok(()),
        () = signals.next() => {
            warn!("second signal: exiting without draining");
            hotcert_log::flush();
            std::process::exit(1);
        }
    }
}

/// Both addresses, or every error.
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

fn spawn_certificate(
    settings: &Settings,
    client: &Client,
    namespace: &str,
    status: &Status,
) -> JoinHandle<String> {
    let certificate = WebhookCertificate {
        client: client.clone(),
        namespace: namespace.to_owned(),
        service: settings.webhook_service.clone(),
        cluster_domain: settings.cluster_domain.clone(),
        webhook: settings.webhook_name.clone(),
        timing: settings.timing,
        status: status.clone(),
    };
    tokio::spawn(async move {
        certificate.run().await;
        "the renewal of the webhook's certificate ended".to_owned()
    })
}

fn spawn_end_of_reload(identities: Identities) -> JoinHandle<String> {
    tokio::spawn(async move {
        let error = identities.ended().await;
        format!("the reload of the webhook's certificate failed: {error}")
    })
}

/// Never ends: the detection may, if the sidecar kind is fixed.
fn spawn_sidecar_detection(
    settings: &Settings,
    client: Client,
    decision: watch::Sender<Option<SidecarDecision>>,
) -> JoinHandle<String> {
    let mode = settings.sidecar;
    tokio::spawn(async move {
        native_sidecar::run(mode, client, decision).await;
        std::future::pending().await
    })
}

/// Ends only if the leader ends before it has resigned.
fn spawn_leader(
    leader: LeaderReconciler,
    resigned: watch::Receiver<bool>,
    release: watch::Sender<bool>,
) -> JoinHandle<String> {
    tokio::spawn(async move {
        leader.run(resigned.clone()).await;
        release.send_replace(true);
        if *resigned.borrow() {
            std::future::pending::<()>().await;
        }
        "leader election and the reconcile loop ended".to_owned()
    })
}

/// The webhook's certificate, reloaded from its Secret. API servers present no certificate, and verify the
/// webhook's by the `caBundle`.
fn reload(namespace: &str, kubeconfig: Option<&Path>) -> Result<Identities, StartError> {
    let secret = SecretRef { namespace: Some(namespace.to_owned()), name: SECRET_NAME.into() };
    let reloader = Reloader::builder()
        .kubernetes_secret_ref(secret)
        .watch_silence(WATCH_SILENCE)
        .without_client_certificates();
    let reloader = kubeconfig.into_iter().fold(reloader, |reloader, path| reloader.kubeconfig(path));
    reloader.start_without_waiting()
}

/// Unready at once; still accepting during the delay, until every API server has dropped this pod from its
/// endpoints; then only the requests in flight.
async fn drain(
    settings: &Settings,
    status: &Status,
    webhook: &Webhook,
    stop_accepting: &CancellationToken,
    end_connections: &CancellationToken,
) {
    status.update(|report| report.draining = true);
    webhook.close_after_next_response();
    info!(delay = %duration::format(settings.shutdown_delay), "draining: not ready, still accepting connections during the shutdown delay");
    tokio::time::sleep(settings.shutdown_delay).await;
    stop_accepting.cancel();
    end_connections.cancel();
    match tokio::time::timeout(GRACE, webhook.drained()).await {
        Ok(()) => info!("drained"),
        Err(_) => {
            warn!(grace = %duration::format(GRACE), "the grace period has ended: closing the remaining connections")
        }
    }
}

fn log_settings(settings: &Settings, namespace: &str) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace,
        agent_image = settings.agent_image,
        sidecar = settings.sidecar.as_str(),
        webhook = settings.webhook_name,
        service = settings.webhook_service,
        cluster_domain = %settings.cluster_domain,
        nudge = settings.nudge,
        lifetime = %duration::format(settings.timing.lifetime),
        overlap = %duration::format(settings.timing.overlap),
        shutdown_delay = %duration::format(settings.shutdown_delay),
        "starting"
    );
}
