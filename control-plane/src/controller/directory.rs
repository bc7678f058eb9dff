//! `hotcert controller --dir`: the reconcile loop over a directory on one machine, and the admin listener.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use hotcert_tls::HandshakeLimiter;
use hyper::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::args::Settings;
use super::error::ControllerError;
use super::http::{only_get, serve_http, text, typed};
use super::listener::Bound;
use super::signals::Signals;
use crate::controller::health::settings_problem;
use crate::controller::notification_services::NotificationServices;
use crate::proof::{PROBER, Prober};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::directory::DirectoryStore;

/// Enough for a few scrapers.
const MAX_CONNECTIONS: usize = 64;

pub async fn run(settings: Settings, dir: &Path) -> Result<(), ControllerError> {
    let mut signals = Signals::new()?;
    let admin = Bound::bind("admin", settings.admin)?;
    let store = Arc::new(DirectoryStore::open(dir)?);
    let counts = ReconcileMetrics::default();
    let notifications = NotificationServices::start(&settings)?;
    let mut registry = Registry::with_prefix("hotcert_controller");
    counts.register(&mut registry);
    notifications.register(&mut registry);
    counts.set_leading(true);
    info!(version = env!("CARGO_PKG_VERSION"), dir = %dir.display(), "starting");

    let (registry, connections) = (Arc::new(registry), Arc::new(HandshakeLimiter::new(MAX_CONNECTIONS)));
    let directory: Arc<str> = Arc::from(dir.display().to_string());
    let rejected = notifications.rejected();
    admin.serve(CancellationToken::new(), move |socket, _from| {
        let (registry, connections) = (Arc::clone(&registry), Arc::clone(&connections));
        let directory = Arc::clone(&directory);
        // There is no webhook here that would be missed, so this controller is not ready.
        let problem = rejected.borrow().as_deref().map(settings_problem);
        async move {
            let respond = |request: &hyper::Request<_>| match (request.method(), request.uri().path()) {
                (&Method::GET, "/livez") => text(StatusCode::OK, "alive\n".into()),
                (&Method::GET, "/readyz") => match &problem {
                    None => text(StatusCode::OK, "ready\n".into()),
                    Some(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
                },
                (&Method::GET, "/healthz") => {
                    let health = json!({
                        "healthy": problem.is_none(),
                        "settings_problem": problem,
                        "ready": problem.is_none(),
                        "leading": true,
                        "directory": &*directory,
                    });
                    typed(StatusCode::OK, "application/json", format!("{health:#}\n"))
                }
                (&Method::GET, "/metrics") => {
                    let mut rendered = String::new();
                    let _ = encode(&mut rendered, &registry);
                    typed(
                        StatusCode::OK,
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                        rendered,
                    )
                }
                (&Method::GET, _) => text(
                    StatusCode::NOT_FOUND,
                    "not found; try /livez, /readyz, /healthz or /metrics\n".into(),
                ),
                _ => only_get(),
            };
            connections.run(serve_http(socket, |request| ready(respond(&request)))).await;
        }
    })?;
    let (_leads, leading) = watch::channel(true);
    let reconciler = Reconciler::new(Arc::clone(&store), Prober::new(PROBER), settings.nudge, counts);
    let reconciler = reconciler.with_external(notifications.dispatcher(), notifications.external_sync());
    tokio::select! {
        () = signals.next() => info!("stopping"),
        end = notifications.run_receiver(store) => return Err(ControllerError::TaskEnded(end)),
        () = reconciler.run(leading) => {}
    }
    Ok(())
}
