//! Reads the settings again and again, and publishes them when they changed and are valid.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{info, warn};

use super::file::{ConfigError, NotifyConfig};
use crate::external::manager::Managers;

/// Kubelet takes longer than this to update a mounted Secret.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The current settings. The managers have a channel of their own for those who know nothing of notifications; it
/// is updated first.
#[derive(Clone, Debug)]
pub struct ConfigWatch {
    pub config: watch::Receiver<Arc<NotifyConfig>>,
    pub managers: watch::Receiver<Arc<Managers>>,
    pub rejected: Rejected,
}

/// Why the settings file is invalid, with its lines; `None` while it is valid.
pub type Rejected = watch::Receiver<Option<Arc<str>>>;

#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) rejected: Gauge,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "notifications_config_rejected",
            "1 while the settings file is invalid and the last valid settings stay in force",
            self.rejected.clone(),
        );
    }
}

impl ConfigWatch {
    /// Settings that are empty and stay so.
    pub fn empty() -> Self {
        Self {
            config: watch::channel(Arc::default()).1,
            managers: watch::channel(Arc::default()).1,
            rejected: watch::channel(None).1,
        }
    }

    /// Watches this file. If it is invalid at the start, the settings are empty until it is corrected:
    /// certificates are issued all the same. Must be called within a Tokio runtime.
    pub fn start(path: PathBuf, metrics: Metrics) -> Self {
        Self::start_every(POLL_INTERVAL, path, metrics)
    }

    pub(super) fn start_every(interval: Duration, path: PathBuf, metrics: Metrics) -> Self {
        let (first, mut digest) = NotifyConfig::read_with_digest(&path);
        metrics.rejected.set(first.is_err().into());
        let (rejected, rejected_receiver) = watch::channel(rejection(&first));
        let first = match first {
            Ok(first) => {
                let subscriptions = first.subscriptions.len();
                info!(settings = %path.display(), subscriptions, "notification settings read");
                first
            }
            Err(error) => {
                warn!(
                    "notification settings cannot be read: {error}; until they are corrected, no notification is \
                     sent or accepted, and no manager is used"
                );
                NotifyConfig::default()
            }
        };
        let (managers, managers_receiver) = watch::channel(Arc::clone(&first.managers));
        let (config, config_receiver) = watch::channel(Arc::new(first));
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(interval);
            loop {
                tokio::select! {
                    () = config.closed() => return,
                    _ = tick.tick() => {}
                }
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || NotifyConfig::read_with_digest(&path)).await;
                let Ok((read, new_digest)) = read else { continue };
                if new_digest == digest {
                    continue;
                }
                digest = new_digest;
                metrics.rejected.set(read.is_err().into());
                rejected.send_replace(rejection(&read));
                match read {
                    Ok(new) => {
                        info!(subscriptions = new.subscriptions.len(), "notification settings changed");
                        managers.send_replace(Arc::clone(&new.managers));
                        config.send_replace(Arc::new(new));
                    }
                    Err(error) => warn!("notification settings are invalid and stay as they were: {error}"),
                }
            }
        });
        Self { config: config_receiver, managers: managers_receiver, rejected: rejected_receiver }
    }
}

fn rejection(read: &Result<NotifyConfig, ConfigError>) -> Option<Arc<str>> {
    read.as_ref().err().map(|error| Arc::from(error.summary()))
}
