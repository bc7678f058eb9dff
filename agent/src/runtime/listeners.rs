//! All addresses that were asked for, bound together.

use crate::config::settings::Settings;
use crate::connection::listener::{BindError, Bound};
use crate::proxy::inbound::InboundRoute;
use crate::proxy::outbound::OutboundRoute;
use crate::runtime::self_check::SelfCheckTarget;

/// Every listener of the agent, bound and not listening yet.
pub struct Listeners {
    pub admin: Bound,
    pub proof: Bound,
    pub inbound: Vec<(Bound, InboundRoute)>,
    pub outbound: Vec<(Bound, OutboundRoute)>,
    pub http_proxy: Option<Bound>,
}

impl Listeners {
    /// Binds all, or says all that could not be bound.
    pub fn bind(settings: &Settings) -> Result<Self, Vec<BindError>> {
        let mut errors = Vec::new();
        let mut bind = |role, address| Bound::bind(role, address).map_err(|error| errors.push(error)).ok();
        let admin = bind("admin", settings.admin);
        let proof = bind("proof", settings.proof);
        let inbound = settings
            .inbound
            .iter()
            .filter_map(|route| Some((bind("inbound", route.listen)?, route.clone())))
            .collect();
        let outbound = settings
            .outbound
            .iter()
            .filter_map(|route| Some((bind("outbound", route.listen)?, route.clone())))
            .collect();
        let http_proxy = settings.http_proxy.and_then(|listen| bind("http-proxy", listen));
        match (admin, proof) {
            (Some(admin), Some(proof)) if errors.is_empty() => {
                Ok(Self { admin, proof, inbound, outbound, http_proxy })
            }
            _ => Err(errors),
        }
    }

    /// Where the agent looks at what it serves: as the app's clients do, if there are any.
    pub fn own_dial(&self) -> SelfCheckTarget {
        match self.inbound.first() {
            Some((bound, _)) => SelfCheckTarget::Inbound(bound.dial_address()),
            None => SelfCheckTarget::Proof(self.proof.dial_address()),
        }
    }
}
