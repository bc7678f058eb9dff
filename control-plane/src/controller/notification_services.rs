//! The notification services of the controller: the watched configuration, the dispatcher and the external sync
//! that the leader runs, and the receiver that every replica runs.

use std::sync::Arc;
use std::time::Duration;

use hotcert_agent::connection::listener::{BindError, Bound};
use hotcert_agent::runtime::shutdown::{Stop, stop};
use hotcert_agent::tls::config::ClientAuth;
use hotcert_agent::tls::credential::Layout;
use hotcert_agent::tls::identity::Policy;
use hotcert_agent::tls::reload::status::ReloadStatus;
use hotcert_agent::tls::reload::{self, Reload};
use hotcert_agent::tls::snapshot;
use hotcert_agent::tls::source::directory::Volume;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use super::args::{ReceiverSettings, Settings};
use super::https_server::HttpsServer;
use crate::controller::receiver_http::{LIMITS, ReceiverHandler};
use crate::external::sync::{self, ExternalSync};
use crate::notify::config::{self, ConfigWatch};
use crate::notify::dispatcher::{self, Dispatcher};
use crate::notify::receiver::{self, Receiver};
use crate::store::Store;

/// How often the receiver's certificate is read without an event.
const POLL: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
struct Counts {
    settings: config::Metrics,
    dispatcher: dispatcher::Metrics,
    external_sync: sync::Metrics,
    receiver: receiver::Metrics,
}

pub struct NotificationServices {
    config: ConfigWatch,
    receiver: Option<(ReceiverSettings, Bound)>,
    counts: Counts,
}

impl NotificationServices {
    /// Without a configuration file, nothing is sent and nothing is received.
    pub fn start(settings: &Settings) -> Result<Self, BindError> {
        let counts = Counts::default();
        let receiver = match &settings.receiver {
            Some(receiver) => Some((receiver.clone(), Bound::bind("receiver", receiver.listen)?)),
            None => None,
        };
        let config = match &settings.notifications {
            Some(path) => ConfigWatch::start(path.clone(), counts.settings.clone()),
            None => ConfigWatch::empty(),
        };
        Ok(Self { config, receiver, counts })
    }

    pub fn register(&self, registry: &mut Registry) {
        self.counts.settings.register(registry);
        self.counts.dispatcher.register(registry);
        self.counts.external_sync.register(registry);
        self.counts.receiver.register(registry);
    }

    pub fn dispatcher(&self) -> Dispatcher {
        Dispatcher::new(self.config.config.clone(), self.counts.dispatcher.clone())
    }

    pub fn external_sync(&self) -> ExternalSync {
        ExternalSync::new(self.config.managers.clone(), self.counts.external_sync.clone())
    }

    /// Serves the receiver if one is configured. Returns only when it fails, with the cause.
    pub async fn run_receiver(self, store: Arc<impl Store>) -> String {
        let Some((settings, bound)) = self.receiver else { return std::future::pending().await };
        let (publisher, current) = snapshot::channel();
        let (_stopper, not_ended) = stop();
        let receiver = Receiver::new(store, self.config.config, self.counts.receiver);
        let https = Arc::new(HttpsServer::new(current, LIMITS, not_ended));
        let handler = Arc::new(ReceiverHandler { https, receiver });
        let (_stopper, never_stopped): (_, Stop) = stop();
        let listening = match bound.listen() {
            Ok(listening) => listening,
            Err(error) => return error.to_string(),
        };
        listening.serve(&[Handle::current()], &never_stopped, move |socket, from| {
            let (https, handler) = (Arc::clone(&handler.https), Arc::clone(&handler));
            let handle = move |request, peer| {
                let handler = Arc::clone(&handler);
                async move { handler.handle(request, peer).await }
            };
            https.serve_connection(socket, from, |_| {}, handle)
        });
        let is_public = settings.client_auth == ClientAuth::None;
        let reload = Reload {
            volume: Some(Volume::new(settings.identity, Layout::default())),
            secret: None,
            policy: Policy { public_server: is_public, serves: true, ..Policy::default() },
            client_auth: settings.client_auth,
            poll: POLL,
            publisher,
            status: ReloadStatus::default(),
        };
        match reload::run(reload).await {
            Ok(()) => "the reload of the receiver's certificate ended".to_owned(),
            Err(error) => format!("the reload of the receiver's certificate failed: {error}"),
        }
    }
}
