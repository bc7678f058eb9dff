//! Counts what a listener did not serve: connections that had no place or gave theirs up, and request bodies.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub struct Refusals(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    listener: &'static str,
    reason: &'static str,
}

/// Why a connection was not served, or not to its end. Those of bodies are in `BodyError`.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// There was no place, and every other connection was of more use.
    NoPlace,
    /// It gave way to another connection.
    Displaced,
    /// No request came in time.
    NoRequest,
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoPlace => "no_place",
            Self::Displaced => "displaced",
            Self::NoRequest => "no_request",
        }
    }
}

impl Refusals {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "refused",
            "Connections and request bodies that were refused or gave way to others, by listener and reason",
            self.0.clone(),
        );
    }

    #[cfg(test)]
    pub fn counted(&self, listener: &'static str, reason: &'static str) -> u64 {
        self.0.get(&Labels { listener, reason }).map_or(0, |count| count.get())
    }

    /// Those of one listener.
    pub fn of(&self, listener: &'static str) -> ListenerRefusals {
        ListenerRefusals { listener, counts: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct ListenerRefusals {
    listener: &'static str,
    counts: Refusals,
}

impl ListenerRefusals {
    pub fn connection(&self, refusal: Refusal) {
        self.count(refusal.reason());
    }

    pub fn count(&self, reason: &'static str) {
        self.counts.0.get_or_create(&Labels { listener: self.listener, reason }).inc();
    }
}
