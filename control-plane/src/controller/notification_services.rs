//! The notification services of the controller: the watched configuration, the dispatcher and the external sync
//! that the leader runs, and the receiver that every replica runs.

use std::sync::Arc;

use hotcert_tls::Reloader;
use hyper::http::request::Parts;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::args::{ReceiverSettings, Settings};
use super::https_server::HttpsServer;
use super::listener::{BindError, Bound};
use super::refusals::{ListenerRefusals, Refusals};
use crate::controller::receiver_http::{LIMITS, ReceiverHandler};
use crate::controller::signals::reload_on_hangup;
use crate::external::sync::{self, ExternalSync};
use crate::notify::config::{self, ConfigWatch, Rejected};
use crate::notify::dispatcher::{self, Dispatcher};
use crate::notify::receiver::{self, Receiver};
use crate::store::Store;

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
    refusals: ListenerRefusals,
}

impl NotificationServices {
    /// Without a configuration file, nothing is sent and nothing is received.
    pub fn start(settings: &Settings, refusals: &Refusals) -> Result<Self, BindError> {
        let counts = Counts::default();
        let receiver = match &settings.receiver {
            Some(receiver) => Some((receiver.clone(), Bound::bind("receiver", receiver.listen)?)),
            None => None,
        };
        let config = match &settings.notifications {
            Some(path) => ConfigWatch::start(path.clone(), counts.settings.clone()),
            None => ConfigWatch::empty(),
        };
        Ok(Self { config, receiver, counts, refusals: refusals.of("receiver") })
    }

    pub fn register(&self, registry: &mut Registry) {
        self.counts.settings.register(registry);
        self.counts.dispatcher.register(registry);
        self.counts.external_sync.register(registry);
        self.counts.receiver.register(registry);
    }

    pub fn dispatcher(&self) -> Dispatcher {
        let ConfigWatch { config, rejected, .. } = self.config.clone();
        Dispatcher::new(config, rejected, self.counts.dispatcher.clone())
    }

    /// Why the settings file is invalid, while it is.
    pub fn rejected(&self) -> Rejected {
        self.config.rejected.clone()
    }

    pub fn external_sync(&self) -> ExternalSync {
        ExternalSync::new(self.config.managers.clone(), self.counts.external_sync.clone())
    }

    /// Serves the receiver if one is configured. Returns only when it fails, with the cause.
    pub async fn run_receiver(self, store: Arc<impl Store>) -> String {
        let Some((settings, bound)) = self.receiver else { return std::future::pending().await };
        let reloader = Reloader::builder().directory(settings.identity).client_auth(settings.client_auth);
        let identities = match reloader.start_without_waiting() {
            Ok(identities) => identities,
            Err(error) => return error.to_string(),
        };
        tokio::spawn(reload_on_hangup(identities.clone()));
        let receiver = Receiver::new(store, self.config.config, self.counts.receiver);
        let handler = Arc::new(ReceiverHandler { receiver });
        let asked = Arc::clone(&handler);
        let wants_body = move |request: &Parts| asked.wants_body(request);
        let https =
            HttpsServer::new(&identities, LIMITS, wants_body, self.refusals, CancellationToken::new());
        let https = Arc::new(https);
        let listening = bound.serve(CancellationToken::new(), move |socket, from| {
            let (https, handler) = (Arc::clone(&https), Arc::clone(&handler));
            let handle = move |request, body, peer| {
                let handler = Arc::clone(&handler);
                async move { handler.handle(request, body, peer).await }
            };
            https.serve_connection(socket, from, |_| {}, handle)
        });
        match listening {
            Ok(()) => {
                let error = identities.ended().await;
                format!("the reload of the receiver's certificate failed: {error}")
            }
            Err(error) => error.to_string(),
        }
    }
}
