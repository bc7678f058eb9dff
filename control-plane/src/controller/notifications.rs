//! Notifications, as the controller has them: the settings that are followed, who brings what is owed, and
//! the listener for what comes in, which every replica has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hotcert_agent::admin::{only_get, text, typed};
use hotcert_agent::connection::listener::{BindError, Bound};
use hotcert_agent::runtime::shutdown::{Stop, stop};
use hotcert_agent::tls::config::ClientAuth;
use hotcert_agent::tls::credential::Layout;
use hotcert_agent::tls::identity::Policy;
use hotcert_agent::tls::peer::Peer;
use hotcert_agent::tls::reload::status::ReloadStatus;
use hotcert_agent::tls::reload::{self, Reload};
use hotcert_agent::tls::snapshot;
use hotcert_agent::tls::source::directory::Volume;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::args::Settings;
use super::https::{Https, Limits};
use crate::external::sync::{self, ExternalSync};
use crate::notify::config::{self, NotifyConfig};
use crate::notify::dispatcher::{self, Dispatcher};
use crate::notify::receiver::{self, Message, Receiver, Refusal};
use crate::store::Store;

const LIMITS: Limits = Limits {
    // Of a connection of HTTP/2 that says nothing nobody knows for how long.
    http2: false,
    idle: Duration::from_secs(30),
    request: Duration::from_secs(5),
    head: 16 << 10,
    // A hundred certificates, and as much again.
    body: 256 << 10,
    bodies: 16 << 20,
};
/// Senders wait longer than this. What is not recorded by then, they send again.
const WITHIN: Duration = Duration::from_secs(1);
const PATH: &str = "/notifications/";
const KEYS: &str = "/notifications/keys";

/// Where notifications come in.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    pub listen: SocketAddr,
    /// A directory with the certificate that is shown.
    pub identity: PathBuf,
    pub client_auth: ClientAuth,
}

#[derive(Clone, Default)]
struct Counts {
    settings: config::Counts,
    dispatcher: dispatcher::Counts,
    external_sync: sync::Counts,
    receiver: receiver::Counts,
}

pub struct Notifying {
    settings: watch::Receiver<Arc<NotifyConfig>>,
    inbox: Option<(ReceiverConfig, Bound)>,
    counts: Counts,
}

impl Notifying {
    /// Without settings nobody is told anything, and nobody listened to.
    pub fn start(settings: &Settings) -> Result<Self, BindError> {
        let counts = Counts::default();
        let inbox = match &settings.inbox {
            Some(inbox) => Some((inbox.clone(), Bound::bind("receiver", inbox.listen)?)),
            None => None,
        };
        let settings = match &settings.notifications {
            Some(path) => config::follow(path.clone(), counts.settings.clone()),
            None => watch::channel(Arc::default()).1,
        };
        Ok(Self { settings, inbox, counts })
    }

    pub fn register(&self, registry: &mut Registry) {
        self.counts.settings.register(registry);
        self.counts.dispatcher.register(registry);
        self.counts.external_sync.register(registry);
        self.counts.receiver.register(registry);
    }

    pub fn dispatcher(&self) -> Dispatcher {
        Dispatcher::new(self.settings.clone(), self.counts.dispatcher.clone())
    }

    pub fn external_sync(&self) -> ExternalSync {
        ExternalSync::new(self.settings.clone(), self.counts.external_sync.clone())
    }

    /// Listens, if that was asked for, and ends with an error only.
    pub async fn receive(self, store: Arc<impl Store>) -> String {
        let Some((inbox, bound)) = self.inbox else { return std::future::pending().await };
        let (publisher, current) = snapshot::channel();
        let (_never, not_ended) = stop();
        let receiver = Receiver::new(store, self.settings, self.counts.receiver);
        let serving = Arc::new(Serving { https: Arc::new(Https::new(current, LIMITS, not_ended)), receiver });
        let (_open, always): (_, Stop) = stop();
        let listening = match bound.listen() {
            Ok(listening) => listening,
            Err(error) => return error.to_string(),
        };
        listening.serve(&[Handle::current()], &always, move |socket, from| {
            let (https, serving) = (Arc::clone(&serving.https), Arc::clone(&serving));
            let answer = move |request, peer| {
                let serving = Arc::clone(&serving);
                async move { serving.answer(request, peer).await }
            };
            https.connection(socket, from, |_| {}, answer)
        });
        let is_public = inbox.client_auth == ClientAuth::None;
        let reload = Reload {
            volume: Some(Volume::new(inbox.identity, Layout::default())),
            secret: None,
            policy: Policy { public_server: is_public, serves: true, ..Policy::default() },
            client_auth: inbox.client_auth,
            poll: LOOK,
            publisher,
            status: ReloadStatus::default(),
        };
        match reload::run(reload).await {
            Ok(()) => "following the receiver's certificate ended".to_owned(),
            Err(error) => format!("following the receiver's certificate: {error}"),
        }
    }
}

/// In case that no event tells of a new certificate.
const LOOK: Duration = Duration::from_secs(5);

struct Serving<S> {
    https: Arc<Https>,
    receiver: Receiver<S>,
}

impl<S: Store> Serving<S> {
    async fn answer(&self, request: Request<Incoming>, peer: Option<Arc<Peer>>) -> Response<Full<Bytes>> {
        let (request, body) = request.into_parts();
        let body = self.https.read(body).await;
        let path = request.uri.path();
        if path == KEYS {
            return if request.method == Method::GET { self.keys() } else { only_get() };
        }
        let Some(sender) = path.strip_prefix(PATH) else {
            return text(StatusCode::NOT_FOUND, format!("not here; notifications go to {PATH}SENDER\n"));
        };
        if request.method != Method::POST {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                self.receiver.unreadable(sender, error.reason(), &error, SystemTime::now());
                return refused(error.status(), error.reason(), &error.to_string());
            }
        };
        let client = peer.as_ref().map(|peer| &peer.names);
        let message = Message { headers: &request.headers, body: &body, client };
        let received = self.receiver.receive(sender, message, SystemTime::now());
        match timeout(WITHIN, received).await {
            Ok(Ok(accepted)) => typed(StatusCode::OK, "application/json", format!("{}\n", accepted.json())),
            Ok(Err(refusal)) => answer_to(&refusal),
            Err(_) => {
                let why = format!("it could not be recorded within {WITHIN:?}");
                self.receiver.unreadable(sender, "slow", &why, SystemTime::now());
                refused(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "slow",
                    "it could not be recorded in time: send it again",
                )
            }
        }
    }

    fn keys(&self) -> Response<Full<Bytes>> {
        let keys = json!({ "keys": self.receiver.settings().public_keys });
        typed(StatusCode::OK, "application/json", format!("{keys}\n"))
    }
}

/// To somebody who may be anybody: what was wrong, and nothing of what is here.
fn answer_to(refusal: &Refusal) -> Response<Full<Bytes>> {
    let said = match refusal {
        Refusal::Store(_) | Refusal::NoKeys(_) => "it could not be recorded: send it again".to_owned(),
        Refusal::Instance(_) | Refusal::Token(_) => "it is not believed".to_owned(),
        other => other.to_string(),
    };
    let mut response = refused(refusal.status(), refusal.reason(), &said);
    if refusal.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(hyper::header::RETRY_AFTER, HeaderValue::from_static("10"));
    }
    response
}

fn refused(status: StatusCode, reason: &str, said: &str) -> Response<Full<Bytes>> {
    let body = json!({ "outcome": "refused", "reason": reason, "message": said });
    typed(status, "application/json", format!("{body}\n"))
}
