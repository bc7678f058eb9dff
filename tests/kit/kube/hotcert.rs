//! hotcert's own objects and rights in a cluster, as the manifests give them.

use std::path::Path;

use super::{Account, ApiServer};
use crate::client::both;
use crate::until;

/// The controller's.
pub const SYSTEM: &str = "hotcert-system";

impl ApiServer {
    /// Starts one that knows hotcert's objects, with these namespaces, of which `shop` is bound to the
    /// controller; and the controller's account.
    pub fn with_hotcert(namespaces: &[&str]) -> (Self, Account) {
        let server = Self::start();
        for namespace in [SYSTEM].iter().chain(namespaces) {
            server.namespace(namespace);
        }
        let account = server.service_account(SYSTEM, "hotcert-controller");
        for file in ["base/crds.yaml", "base/rbac.yaml", "demo/control-plane.yaml"] {
            server.apply(file);
        }
        until("hotcert's objects known", || {
            let listed = server.kubectl(&["get", "hca,hcert", "-A"], "");
            listed.status.success().then_some(())
        });
        (server, account)
    }

    /// Applies a file below `manifests`.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("manifests");
        let output = self.kubectl(&["apply", "-f", manifests.join(manifest).to_str().unwrap()], "");
        assert!(output.status.success(), "{manifest}: {}", both(&output));
    }
}
