//! A cluster: the certificates, a pod for each, and the API server that they are in.

use futures_util::{StreamExt as _, stream};
use hotcert::api::resource::{
    CertificateAuthority, CertificateAuthoritySpec, ServiceCertificate, ServiceCertificateSpec,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kit::agent::{Agent, Launch};
use kit::kube::{Account, ApiServer, SYSTEM};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::agents::{Agents, address, secret};
use crate::site::{ASKED, AUTHORITY, Requests, Site, certificate, namespace};

const AT_ONCE: usize = 16;

pub struct Fleet {
    count: usize,
    namespaces: usize,
    server: ApiServer,
    account: Account,
    runtime: Runtime,
}

impl Fleet {
    /// So many certificates, spread over so many namespaces.
    pub fn create(count: usize, namespaces: usize) -> Self {
        let (server, account) = ApiServer::with_hotcert(&["shop"]);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let fleet = Self { count, namespaces, server, account, runtime };
        fleet.add_namespaces();
        fleet.fill();
        let agents = Agents::default().run(fleet.client());
        fleet.runtime.spawn(agents);
        fleet
    }

    fn client(&self) -> kube::Client {
        self.runtime.block_on(async {
            let kubeconfig = kube::config::Kubeconfig::read_from(self.server.admin_kubeconfig()).unwrap();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
            kube::Client::try_from(config).unwrap()
        })
    }

    fn fill(&self) {
        let client = self.client();
        let post = PostParams::default();
        let authorities: Api<CertificateAuthority> = Api::all(client.clone());
        let namespaces = (0..self.namespaces).map(namespace).collect();
        let spec = CertificateAuthoritySpec { namespaces, ..Default::default() };
        self.runtime
            .block_on(authorities.create(&post, &CertificateAuthority::new(AUTHORITY, spec)))
            .unwrap();
        let spread = self.namespaces;
        let numbers: Vec<u32> = (0..u32::try_from(self.count).unwrap()).collect();
        let made = stream::iter(numbers).map(|number| {
            let client = client.clone();
            async move {
                let namespace = namespace(number as usize % spread);
                let certificates: Api<ServiceCertificate> = Api::namespaced(client.clone(), &namespace);
                let pods: Api<Pod> = Api::namespaced(client, &namespace);
                let spec = ServiceCertificateSpec { authority: AUTHORITY.into(), ..Default::default() };
                let name = certificate(number);
                certificates.create(&PostParams::default(), &ServiceCertificate::new(&name, spec)).await.unwrap();
                pods.create(&PostParams::default(), &pod(number)).await.unwrap();
                let status = json!({"status": {"phase": "Running", "podIP": address(number), "podIPs": [{"ip": address(number)}]}});
                let (name, params) = (format!("app{number:05}"), PatchParams::default());
                pods.patch_status(&name, &params, &Patch::Merge(status)).await.unwrap();
            }
        });
        self.runtime.block_on(made.buffer_unordered(AT_ONCE).collect::<Vec<_>>());
    }

    /// With the right of the controller to all of them, beside that to the first.
    fn add_namespaces(&self) {
        let client = self.client();
        let post = PostParams::default();
        let bind = json!({
            "metadata": {"name": "hotcert"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hotcert-namespace"},
            "subjects": [{"kind": "ServiceAccount", "name": "hotcert-controller", "namespace": SYSTEM}],
        });
        let bind: ClusterRoleBinding = serde_json::from_value(bind).unwrap();
        if self.namespaces > 1 {
            self.runtime.block_on(Api::all(client).create(&post, &bind)).unwrap();
        }
        for name in (1..self.namespaces).map(namespace) {
            self.server.namespace(&name);
        }
    }
}

impl Site for Fleet {
    fn count(&self) -> usize {
        self.count
    }

    fn start_controller(&self) -> Agent {
        Launch::controller(&self.account.kubeconfig).args(["--namespace", SYSTEM]).start()
    }

    fn requests(&self) -> Requests {
        let text = self.server.kubectl(&["get", "--raw", "/metrics"], "").stdout;
        let metrics = String::from_utf8(text).unwrap();
        let ours = ["secrets", "pods", "servicecertificates", "certificateauthorities", "events", "leases"];
        let mut requests = Requests::new();
        for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |key: &str| {
                let (_, rest) = line.split_once(&format!("{key}=\""))?;
                Some(rest.split_once('"')?.0)
            };
            let (Some(verb), Some(resource)) = (label("verb"), label(",resource")) else { continue };
            if ours.contains(&resource) {
                let part = label("subresource").filter(|part| !part.is_empty());
                let part = part.map(|part| format!("/{part}")).unwrap_or_default();
                let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
                *requests.entry(format!("{verb} {resource}{part}")).or_default() += count;
            }
        }
        requests
    }

    /// Its pod has been seen to serve it.
    fn done_metric(&self) -> (&'static str, &'static [(&'static str, &'static str)]) {
        ("hotcert_controller_published_to_served_seconds_count", &[])
    }

    fn rotate_one(&self, id: &str) {
        let certificates: Api<ServiceCertificate> = Api::namespaced(self.client(), &namespace(0));
        let ask = json!({"metadata": {"annotations": {"hotcert.dev/rotate": id}}});
        let (name, params) = (certificate(0), PatchParams::default());
        self.runtime.block_on(certificates.patch(&name, &params, &Patch::Merge(ask))).unwrap();
    }

    fn roll_over(&self) {
        let authorities: Api<CertificateAuthority> = Api::all(self.client());
        let ask = json!({"metadata": {"annotations": {"hotcert.dev/rollover": ASKED}}});
        let params = PatchParams::default();
        self.runtime.block_on(authorities.patch(AUTHORITY, &params, &Patch::Merge(ask))).unwrap();
    }
}

fn pod(number: u32) -> Pod {
    let secret = secret(number);
    serde_json::from_value(json!({
        "metadata": {"name": format!("app{number:05}"), "annotations": {"hotcert.dev/secret": secret}},
        "spec": {
            "nodeName": "node", "automountServiceAccountToken": false,
            "containers": [{
                "name": "hotcert-agent", "image": "hotcert-agent",
                "env": [{"name": "HOTCERT_SECRET", "value": secret}],
            }],
            "volumes": [{"name": "hotcert-identity", "secret": {"secretName": secret}}],
        },
    }))
    .unwrap()
}
