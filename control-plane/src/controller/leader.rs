//! The reconcile loop over the cluster, on whichever replica leads.

use kube::Client;
use tokio::sync::watch;

use crate::runtime::lease::{Candidate, identity};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::kubernetes::KubernetesStore;

/// Competes for the lease, and reconciles while it is held.
pub struct LeaderReconciler {
    candidate: Candidate,
    reconciler: Reconciler<KubernetesStore>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    metrics: ReconcileMetrics,
}

impl LeaderReconciler {
    pub fn new(
        client: Client,
        namespace: &str,
        reconciler: Reconciler<KubernetesStore>,
        metrics: ReconcileMetrics,
    ) -> Self {
        let (candidate, leading) = Candidate::new(client, namespace, identity());
        Self { candidate, reconciler, leading, metrics }
    }

    /// Runs until `stop` is set, and then releases the lease.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { candidate, reconciler, leading, metrics } = self;
        let mut counted = leading.clone();
        let count_leadership = async move {
            loop {
                metrics.set_leading(*counted.borrow_and_update());
                if counted.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        // The loop stops before the lease is released. An interrupted round is like a crash: the next leader
        // observes everything anew.
        tokio::select! {
            // In this order: after a pause of the process the lease is looked at before anything is written.
            biased;
            () = candidate.run(stop) => {}
            () = reconciler.run(leading) => {}
            () = count_leadership => {}
        }
    }
}
