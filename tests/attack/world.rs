//! What a row attacks: a real agent before the app, an honest client and an attacker that are both trusted.

use std::net::SocketAddr;
use std::sync::Arc;

use kit::agent::{Agent, Launch};
use kit::client::SERVER;
use kit::dialer::{Dialer, Group};
use kit::pki::{Pair, Pki};
use kit::volume::Volume;
use tokio_rustls::rustls::ClientConfig;

use crate::app;
use crate::honest::Plan;

pub struct World {
    pub agent: Agent,
    pub volume: Volume,
    pub app: SocketAddr,
    /// A peer like any other, but hostile.
    pub attacker: Pair,
    pub pki: Pki,
}

impl World {
    /// An agent with one worker before the app.
    pub fn http(args: &[&str]) -> Self {
        Self::with(|launch, app| launch.inbound("http:", app).args(args))
    }

    pub fn with(configure: impl FnOnce(Launch, SocketAddr) -> Launch) -> Self {
        let pki = Pki::default();
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let app = app::start();
        // That of an injected agent, whatever the limit of the container is. Agents that know no budget ignore it.
        let launch = Launch::new(&volume.path).args(["--workers", "1"]).env("HOTCERT_MEMORY_BUDGET", "128Mi");
        let agent = configure(launch, app).ready();
        Self { agent, volume, app, attacker: pki.leaf("attacker"), pki }
    }

    pub fn id(&self) -> u32 {
        self.agent.id()
    }

    pub fn inbound(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    /// How the honest client speaks TLS.
    pub fn storefront(&self) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        Ok(Dialer::new(&self.pki.leaf("storefront"), Group::X25519)?.config())
    }

    pub fn honest(&self) -> anyhow::Result<Vec<Plan>> {
        Ok(vec![Plan::ordinary(self.inbound(), self.storefront()?)])
    }
}
