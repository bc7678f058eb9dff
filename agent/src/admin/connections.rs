//! The connections of the admin and proof listeners: bounded, and shared between sources. A slow answer is not
//! punished: a connection whose request is being answered, such as a probe that waits for the app, does not give
//! way to those that have not asked.

use std::future::Future;
use std::net::SocketAddr;

use hotcert_tls::{Activity, FairLimiter};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The connections of one listener.
pub struct AdminConnections {
    limiter: FairLimiter,
    listener: &'static str,
    refusals: Refusals,
}

/// Connections that had no place or gave theirs up, by listener and reason.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    listener: &'static str,
    reason: &'static str,
}

impl Refusals {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "admin_connections_refused",
            "Connections to the admin and proof listeners that were refused or gave way, by reason",
            self.0.clone(),
        );
    }
}

impl AdminConnections {
    pub fn new(listener: &'static str, max_connections: usize, refusals: Refusals) -> Self {
        Self { limiter: FairLimiter::new(max_connections), listener, refusals }
    }

    /// Serves one connection until it ends or gives way to others.
    pub async fn serve<F: Future<Output = ()>>(
        &self,
        from: SocketAddr,
        connection: impl FnOnce(Activity) -> F,
    ) {
        let Some(mut place) = self.limiter.place(from.ip()) else {
            return self.count("no_place");
        };
        let connection = connection(place.activity());
        if place.run(connection).await.is_none() {
            self.count("displaced");
        }
    }

    fn count(&self, reason: &'static str) {
        self.refusals.0.get_or_create(&Labels { listener: self.listener, reason }).inc();
    }
}
