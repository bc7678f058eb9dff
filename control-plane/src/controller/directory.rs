//! `hotcert controller --dir`: the reconcile loop over a directory on one machine, and the admin listener. Of
//! several controllers on one directory one leads, and the others wait until it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hotcert_log::exposition;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admin_connections::AdminConnections;
use super::args::Settings;
use super::error::ControllerError;
use super::http::{accept, only_get, text, typed};
use super::listener::Bound;
use super::metrics::register_log;
use super::refusals::Refusals;
use super::signals::Signals;
use crate::controller::health::settings_problem;
use crate::controller::notification_services::NotificationServices;
use crate::notify::config::Rejected;
use crate::proof::{PROBER, Prober};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::directory::{Attempt, DirectoryStore, Leadership};

/// How often a controller that waits tries to lead.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(500);
/// How often the one that leads looks for what deleted certificates have left.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);

pub async fn run(settings: Settings, dir: &Path) -> Result<(), ControllerError> {
    let mut signals = Signals::new()?;
    let admin = Bound::bind("admin", settings.admin)?;
    let store = Arc::new(DirectoryStore::open(dir)?);
    let counts = ReconcileMetrics::default();
    let refusals = Refusals::default();
    let notifications = NotificationServices::start(&settings, &refusals)?;
    let mut registry = Registry::with_prefix("hotcert_controller");
    counts.register(&mut registry);
    register_log(&mut registry);
    notifications.register(&mut registry);
    refusals.register(&mut registry);
    info!(version = env!("CARGO_PKG_VERSION"), dir = %dir.display(), "starting");

    let (leads, leading) = watch::channel(false);
    let (reports, waits_for) = watch::channel(Some("the lock of the directory".to_owned()));
    let rejected = notifications.rejected();
    let admin_pages = Arc::new(Admin { registry, waits_for, rejected, directory: dir.display().to_string() });
    let connections = Arc::new(AdminConnections::new(&refusals));
    admin.serve(CancellationToken::new(), move |socket, from| {
        let (pages, connections) = (Arc::clone(&admin_pages), Arc::clone(&connections));
        async move {
            connections.serve(socket, from, |request| pages.respond(request)).await;
        }
    })?;
    let lead = async {
        let _leadership = wait_to_lead(&store, &reports).await;
        info!("leading");
        counts.set_leading(true);
        reports.send_replace(None);
        leads.send_replace(true);
        clean_up(&store).await;
    };
    let reconciler = Reconciler::new(Arc::clone(&store), Prober::new(PROBER), settings.nudge, counts.clone());
    let reconciler = reconciler.with_external(notifications.dispatcher(), notifications.external_sync());
    tokio::select! {
        () = signals.next() => info!("stopping"),
        end = notifications.run_receiver(Arc::clone(&store)) => return Err(ControllerError::TaskEnded(end)),
        () = lead => {}
        () = reconciler.run(leading) => {}
    }
    Ok(())
}

/// Reports what it waits for, and logs it when that changes.
async fn wait_to_lead(store: &DirectoryStore, reports: &watch::Sender<Option<String>>) -> Leadership {
    loop {
        let waits_for = match store.attempt_to_lead().await {
            Ok(Attempt::Leads(leadership)) => return leadership,
            Ok(Attempt::LedBy(Some(process))) => format!("another controller, process {process}, to end"),
            Ok(Attempt::LedBy(None)) => "another controller to end".into(),
            Err(error) => error.to_string(),
        };
        let is_new = reports.send_if_modified(|before| {
            let is_new = before.as_ref() != Some(&waits_for);
            *before = Some(waits_for.clone());
            is_new
        });
        if is_new {
            warn!(dir = %store.root().display(), waiting_for = waits_for, "waiting to lead on the directory");
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
}

async fn clean_up(store: &DirectoryStore) {
    let mut logged = None;
    loop {
        let failed = store.remove_versions_of_deleted(SystemTime::now()).await.err();
        let failed = failed.map(|error| error.to_string());
        if let Some(error) = failed.as_ref().filter(|_| failed != logged) {
            warn!(%error, "versions of deleted certificates were not removed");
        }
        logged = failed;
        tokio::time::sleep(CLEANUP_INTERVAL).await;
    }
}

struct Admin {
    registry: Registry,
    /// `None` while this controller leads.
    waits_for: watch::Receiver<Option<String>>,
    /// Why the notification settings are not in force.
    rejected: Rejected,
    directory: String,
}

impl Admin {
    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return only_get();
        }
        let waits_for = self.waits_for.borrow().clone();
        let problem = self.rejected.borrow().as_deref().map(settings_problem);
        // There is no webhook here that would be missed: a controller with broken settings is not ready.
        let not_ready = waits_for.as_ref().map(|waits_for| format!("waiting for {waits_for}"));
        let not_ready = not_ready.or_else(|| problem.clone());
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/readyz" => match not_ready {
                None => text(StatusCode::OK, "ready\n".into()),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            },
            "/healthz" => {
                let mut health = json!({
                    "healthy": problem.is_none(),
                    "settings_problem": problem,
                    "ready": not_ready.is_none(),
                    "leading": waits_for.is_none(),
                    "directory": self.directory,
                });
                if let Some(waits_for) = waits_for {
                    health["waitingFor"] = json!(waits_for);
                }
                typed(StatusCode::OK, "application/json", format!("{health:#}\n"))
            }
            "/metrics" => {
                let (content_type, body) = exposition::render(&self.registry, accept(request));
                typed(StatusCode::OK, content_type, body)
            }
            _ => text(StatusCode::NOT_FOUND, "not found; try /livez, /readyz, /healthz or /metrics\n".into()),
        }
    }
}
