//! What to keep current, and how: from the builder to a running reload.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::config::ClientAuth;
use crate::credential::Layout;
use crate::event::Event;
use crate::handshake_limiter::{DEFAULT_PLACES, HandshakeLimiter};
use crate::identities::Identities;
use crate::identity::Policy;
use crate::peer::Peers;
use crate::reload::{self, ManualSource, Progress, Reload, Reporter, SecretWatch, Writer};
use crate::reload_error::ReloadError;
use crate::san_pattern::SanPattern;
use crate::shared::Shared;
use crate::snapshot::{self, Snapshots};
use crate::source::directory::Volume;
#[cfg(feature = "kubernetes")]
use crate::source::{SecretRef, SecretRefError, kubernetes::SecretWatcher};

/// The floor under lost events.
const POLL: Duration = Duration::from_secs(5);
const MIN_POLL: Duration = Duration::from_millis(10);

/// Keeps a TLS identity current. Begin with [`Reloader::builder`].
#[derive(Debug)]
pub struct Reloader;

impl Reloader {
    /// A builder, which needs at least one source.
    pub fn builder() -> ReloaderBuilder {
        ReloaderBuilder {
            name: String::new(),
            directory: None,
            layout: Layout::default(),
            client_auth: ClientAuth::Require,
            serves: true,
            revocation_grace: Duration::ZERO,
            expected_names: Vec::new(),
            poll: POLL,
            max_handshakes: DEFAULT_PLACES,
            #[cfg(feature = "kubernetes")]
            secret: None,
            #[cfg(feature = "kubernetes")]
            kubeconfig: None,
            #[cfg(feature = "kubernetes")]
            watch_silence: WATCH_SILENCE,
        }
    }
}

/// API servers send a bookmark about once a minute when nothing changes.
#[cfg(feature = "kubernetes")]
const WATCH_SILENCE: Duration = Duration::from_secs(150);

/// What to keep current, and how.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReloaderBuilder {
    name: String,
    directory: Option<PathBuf>,
    layout: Layout,
    client_auth: ClientAuth,
    serves: bool,
    expected_names: Vec<SanPattern>,
    revocation_grace: Duration,
    poll: Duration,
    max_handshakes: usize,
    #[cfg(feature = "kubernetes")]
    secret: Option<Result<SecretRef, SecretRefError>>,
    #[cfg(feature = "kubernetes")]
    kubeconfig: Option<PathBuf>,
    #[cfg(feature = "kubernetes")]
    watch_silence: Duration,
}

/// Why an identity cannot be kept current.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The builder was given nothing to read.
    #[error("there is no source: give the builder a directory or a Kubernetes Secret")]
    NoSource,
    /// The Secret cannot exist under that name.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    InvalidSecret(#[from] SecretRefError),
    /// The builder was started outside a tokio runtime.
    #[error("there is no tokio runtime: call it from async code, or within Runtime::enter")]
    NoRuntime,
    /// The reload ended before there was an identity.
    #[error(transparent)]
    Ended(#[from] ReloadError),
}

impl ReloaderBuilder {
    /// A name for the label `identity` of its metrics, for programs that have several.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Reads the identity from a directory: a Secret volume that kubelet mounts, whose files are swapped all at
    /// once, or a plain directory whose files are written one after the other. There, what does not fit together counts
    /// as refused only when nothing has changed for 250 ms: write all files within that time.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The names of the files, or of the keys of the Secret. By default `tls.crt`, `tls.key`, `ca.crt`, and `ca.crl` for
    /// revocation lists, which need not be there: where they are, they are in force.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Reads and watches one Secret through the Kubernetes API, for which `get`, `list` and `watch` on that Secret
    /// are needed. With a directory too, the API decides while the watch is healthy, and the directory is what the
    /// program starts from and falls back to.
    #[cfg(feature = "kubernetes")]
    pub fn kubernetes_secret(mut self, namespace: &str, name: &str) -> Self {
        self.secret = Some(format!("{namespace}/{name}").parse());
        self
    }

    /// As [`ReloaderBuilder::kubernetes_secret`], by a reference that may leave out the namespace: then it is the
    /// pod's own.
    #[cfg(feature = "kubernetes")]
    pub fn kubernetes_secret_ref(mut self, secret: SecretRef) -> Self {
        self.secret = Some(Ok(secret));
        self
    }

    /// Connects to the Kubernetes API with this kubeconfig, in place of the pod's service account.
    #[cfg(feature = "kubernetes")]
    pub fn kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(path.into());
        self
    }

    /// A watch without an event for longer is taken for dead, and begun again. 150 s by default; API servers send
    /// an event about once a minute when nothing changes.
    #[cfg(feature = "kubernetes")]
    pub fn watch_silence(mut self, silence: Duration) -> Self {
        self.watch_silence = silence;
        self
    }

    /// Requires clients to present a certificate that the trust bundle verifies: the default.
    pub fn require_client_certificate(self) -> Self {
        self.client_auth(ClientAuth::Require)
    }

    /// Asks clients for no certificate, for a public server certificate: its root need not be in the trust bundle,
    /// and a bundle need not exist.
    pub fn without_client_certificates(self) -> Self {
        self.client_auth(ClientAuth::None)
    }

    /// One of the two above, by value.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// The program accepts no connections, so the leaf need not be usable as a server certificate.
    pub fn client_only(mut self) -> Self {
        self.serves = false;
        self
    }

    /// Refuses a leaf that does not carry this name. May be given several times; the leaf must carry each.
    pub fn expect_name(mut self, name: SanPattern) -> Self {
        self.expected_names.push(name);
        self
    }

    /// Uses a revocation list for so long after the time at which the next one was promised. Not at all by default: then
    /// nobody is trusted until the next one is there.
    pub fn revocation_grace(mut self, grace: Duration) -> Self {
        self.revocation_grace = grace;
        self
    }

    /// Reads the directory at least this often, in case an event was lost. 5 s by default, and at least 10 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll = interval.max(MIN_POLL);
        self
    }

    /// How many handshakes the acceptors make at once, all together: 256 by default, and at least one. Each takes a file
    /// descriptor and some 20 KiB. Beyond it see [`Acceptor::accept_from`](crate::Acceptor::accept_from).
    pub fn max_handshakes(mut self, places: usize) -> Self {
        self.max_handshakes = places;
        self
    }

    /// Starts, and waits until there is an identity. It waits for as long as the source has none that is valid;
    /// what is wrong is logged through `tracing`, once, and is in [`Identities::status`] of
    /// [`ReloaderBuilder::start_without_waiting`].
    pub async fn start(self) -> Result<Identities, StartError> {
        let identities = self.start_without_waiting()?;
        let mut snapshots = identities.snapshots();
        tokio::select! {
            first = snapshots.first() => match first {
                Some(_) => Ok(identities),
                None => Err(identities.ended().await.into()),
            },
            error = identities.ended() => Err(error.into()),
        }
    }

    /// Starts, and returns before there is an identity: until then every handshake is refused.
    pub fn start_without_waiting(self) -> Result<Identities, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let secret = self.secret_watch()?;
        if self.directory.is_none() && secret.is_none() {
            return Err(StartError::NoSource);
        }
        let volume = self.directory.clone().map(|directory| Volume::new(directory, self.layout.clone()));
        let requested = Arc::new(Notify::new());
        let handshakes = HandshakeLimiter::new(self.max_handshakes);
        let (writer, snapshots) = self.writer();
        let reporter = writer.reporter.clone();
        let reload = Reload { volume, secret, writer, requested: Arc::clone(&requested) };
        let ended_reporter = reporter.clone();
        let (end, ended) = watch::channel(None);
        let task = runtime.spawn(async move {
            let Err(error) = reload::run(reload).await;
            ended_reporter.emit(Event::Ended(error.clone()));
            end.send_replace(Some(error));
        });
        let task = Some(task.abort_handle());
        let peers = Peers::default();
        Ok(Identities::new(Shared { snapshots, reporter, requested, peers, handshakes, ended, task }))
    }

    /// Starts with a source of the program's own, which hands over each credential. The directory and the Secret of
    /// the builder are not read.
    pub fn start_manually(self) -> (ManualSource, Identities) {
        let handshakes = HandshakeLimiter::new(self.max_handshakes);
        let (writer, snapshots) = self.writer();
        let reporter = writer.reporter.clone();
        let (end, ended) = watch::channel(None);
        let (requested, peers) = (Arc::default(), Peers::default());
        let shared = Shared { snapshots, reporter, requested, peers, handshakes, ended, task: None };
        (ManualSource { writer, _end: end }, Identities::new(shared))
    }

    fn writer(self) -> (Writer, Snapshots) {
        let (publisher, snapshots) = snapshot::channel();
        let writer = Writer {
            policy: Policy {
                public_server: self.client_auth == ClientAuth::None,
                serves: self.serves,
                expected_names: self.expected_names,
                revocation_grace: self.revocation_grace,
            },
            client_auth: self.client_auth,
            poll: self.poll,
            publisher,
            reporter: Reporter::new(&self.name),
            progress: Progress::default(),
        };
        (writer, snapshots)
    }

    #[cfg(feature = "kubernetes")]
    fn secret_watch(&self) -> Result<Option<SecretWatch>, StartError> {
        let Some(secret) = self.secret.clone().transpose()? else { return Ok(None) };
        let watcher = SecretWatcher {
            secret: secret.clone(),
            layout: self.layout.clone(),
            kubeconfig: self.kubeconfig.clone(),
            silence: self.watch_silence,
        };
        Ok(Some(SecretWatch { secret, state: watcher.start() }))
    }

    #[cfg(not(feature = "kubernetes"))]
    fn secret_watch(&self) -> Result<Option<SecretWatch>, StartError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
