//! LeaderLoop, publishing and rolling over: the loop over the cluster, run by whichever replica leads.

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use crate::external::sync::ExternalSync;
use crate::notify::dispatcher::Dispatcher;
use crate::probe::{PROBER, Prober};
use crate::runtime::lease::{Candidate, identity};
use crate::runtime::reconcile::{Counts, Reconciler};
use crate::store::kubernetes::KubernetesStore;

/// The parts of it, to be spawned.
pub struct LeaderLoop {
    candidate: Candidate,
    reconciler: Reconciler<KubernetesStore>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    counts: Counts,
}

impl LeaderLoop {
    pub fn new(
        client: Client,
        namespace: &str,
        store: Arc<KubernetesStore>,
        (dispatcher, external_sync): (Dispatcher, ExternalSync),
        nudge: bool,
        counts: Counts,
    ) -> Self {
        let (candidate, leading) = Candidate::new(client, namespace, identity());
        let reconciler = Reconciler::new(store, Prober::new(PROBER), nudge, counts.clone());
        let reconciler = reconciler.with(dispatcher, external_sync);
        Self { candidate, reconciler, leading, counts }
    }

    /// Runs until `stop` is set, and gives the lease back then.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { candidate, reconciler, leading, counts } = self;
        let mut shown = leading.clone();
        let show = async move {
            loop {
                counts.leads(*shown.borrow_and_update());
                if shown.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        // The loop stops before the lease is given back. A round that it leaves in the middle is one more
        // crash: whoever comes next looks for itself.
        tokio::select! {
            () = candidate.run(stop) => {}
            () = reconciler.run(leading) => {}
            () = show => {}
        }
    }
}
