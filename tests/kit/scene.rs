//! What most scenarios begin with: a service, its agent, a volume with a leaf, and a client.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::agent::{Agent, Launch};
use crate::app::App;
use crate::client::{self, Curl, SERVER};
use crate::echo::Echo;
use crate::pki::{Credentials, Pair, Pki};
use crate::volume::Volume;

pub struct Scene<Service> {
    pub agent: Agent,
    pub service: Service,
    pub volume: Volume,
    /// What was published first.
    pub leaf: Pair,
    pub client: Credentials,
    pub pki: Pki,
}

impl Scene<Echo> {
    /// An echo service behind `--inbound LISTEN=TARGET`.
    pub fn tcp(args: &[&str]) -> Self {
        let echo = Echo::default();
        Self::start("", echo.address, echo, |launch| launch.args(args))
    }
}

impl Scene<App> {
    /// An HTTP service behind `--inbound http:LISTEN=TARGET`.
    pub fn http(args: &[&str]) -> Self {
        Self::http_by(|launch| launch.args(args))
    }

    /// The same with an agent that is started as `configure` says.
    pub fn http_by(configure: impl FnOnce(Launch) -> Launch) -> Self {
        let app = App::default();
        Self::start("http:", app.address, app, configure)
    }

    pub fn curl(&self, path: &str) -> Curl {
        Curl::https(self.inbound(), path, &self.client)
    }
}

impl<Service> Scene<Service> {
    fn start(
        mode: &str,
        target: SocketAddr,
        service: Service,
        configure: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let pki = Pki::default();
        let (volume, leaf, client) = (pki.volume(SERVER), pki.leaf(SERVER), pki.client("storefront"));
        volume.publish(&leaf, pki.roots());
        let agent = configure(Launch::new(&volume.path).inbound(mode, target)).ready();
        Self { agent, service, volume, leaf, client, pki }
    }

    pub fn inbound(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    /// Publishes a new leaf under the same root.
    pub fn rotate(&self) -> (Pair, Instant) {
        let leaf = self.pki.leaf(SERVER);
        let renamed = self.volume.publish(&leaf, self.pki.roots());
        (leaf, renamed)
    }

    /// Publishes a new leaf and waits until the agent serves it.
    #[track_caller]
    pub fn rotate_and_wait(&self) -> Pair {
        let (leaf, _) = self.rotate();
        self.agent.wait_serving(&leaf.serial);
        leaf
    }

    /// The serial number that OpenSSL is shown by a new handshake.
    pub fn served(&self) -> Option<String> {
        client::served(self.inbound(), &self.client)
    }

    /// Whether the ordinary client gets through.
    pub fn accepts(&self) -> bool {
        client::accepted(self.inbound(), &self.client)
    }

    pub fn health(&self) -> Value {
        self.agent.health()
    }
}
