//! Two services of one authority that call each other through agents, without a pause.

use std::net::SocketAddr;

use hotcert::api::resource::{CertificateAuthority, ServiceCertificate};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{both, get};
use kit::kube::SYSTEM;
use kit::pipe::Pipe;
use kit::pki::dns;
use kit::within;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::compatibility::{end, load};
use crate::control_plane::{AUTHORITY, Cluster, Service, TAKEOVER, address, leads, roots, with_agent};

pub const SERVICES: [&str; 2] = ["payments", "storefront"];

pub struct Shop {
    pub cluster: Cluster,
    pub services: [Service; 2],
    controller: Option<Agent>,
}

/// What each service asks the other.
pub struct Calls([Pipe; 2]);

impl Shop {
    pub fn open() -> Self {
        let cluster = Cluster::empty();
        cluster.server.apply("demo/certificates.yaml");
        let controller = Some(lead(&cluster));
        SERVICES.iter().for_each(|name| cluster.wait_published(name));
        let inbound = SERVICES.map(|_| SocketAddr::from((address(), 8443)));
        let service = |own: usize| {
            let other = 1 - own;
            let route = format!("{}#{}", inbound[other], dns(SERVICES[other]));
            cluster.service_as(SERVICES[own], |launch: Launch, app: &App| {
                let listen = format!("http:{}={}", inbound[own], app.address);
                launch.args(["--inbound", &listen]).outbound("http:", route)
            })
        };
        let services = [service(0), service(1)];
        let shop = Self { cluster, services, controller };
        shop.edit_authority(AUTHORITY, &json!({"drainDeadline": "2s"}));
        shop.wait_healthy();
        shop
    }

    /// Waits until a controller leads.
    pub fn start_controller(&mut self) {
        self.controller = Some(lead(&self.cluster));
    }

    pub fn stop_controller(&mut self) {
        let mut controller = self.controller.take().unwrap();
        controller.signal(Signal::TERM);
        assert!(controller.wait_exit(TAKEOVER).success());
        // It gives the lease back at the end, unless it was just renewed.
        let leases = self.cluster.server.api::<Lease>(SYSTEM);
        let _ = self.cluster.server.run(leases.delete("hotcert-controller", &DeleteParams::default()));
    }

    pub fn edit_authority(&self, name: &str, spec: &Value) {
        let authorities = Api::<CertificateAuthority>::all(self.cluster.server.admin());
        let patch = Patch::Merge(json!({"spec": spec}));
        self.cluster.server.run(authorities.patch(name, &PatchParams::default(), &patch)).unwrap();
    }

    /// Has the certificate of a service name this authority.
    pub fn name_authority(&self, service: &str, authority: &str) {
        let certificates = self.cluster.server.api::<ServiceCertificate>("shop");
        let patch = Patch::Merge(json!({"spec": {"authority": authority}}));
        let name = format!("mtls-demo-{service}");
        self.cluster.server.run(certificates.patch(&name, &PatchParams::default(), &patch)).unwrap();
    }

    pub fn apply(&self, object: &Value) {
        let applied = self.cluster.server.kubectl(&["apply", "-f", "-"], &object.to_string());
        assert!(applied.status.success(), "{}", both(&applied));
    }

    /// A pod of a service that does not answer, and so proves nothing.
    pub fn silent_pod(&self, service: &str) {
        let secret = format!("{service}-tls");
        self.cluster.pod_with("silent", &secret, address(), with_agent(&secret));
    }

    pub fn delete_pod(&self, namespace: &str, name: &str) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
        self.cluster.server.run(self.cluster.server.api::<Pod>(namespace).delete(name, &now)).unwrap();
    }

    pub fn calls(&self) -> Calls {
        Calls(self.services.each_ref().map(|service| load(&service.agent)))
    }

    /// Whether each reaches the other.
    pub fn answers(&self) -> bool {
        self.services.iter().all(|service| {
            get(service.agent.address("outbound"), "/bytes/10").is_ok_and(|answer| answer.status == 200)
        })
    }

    pub fn roots(&self) -> [Vec<String>; 2] {
        self.services.each_ref().map(|service| roots(&service.agent))
    }

    /// Waits until the rollover is in this phase and waits for this and nothing else.
    #[track_caller]
    pub fn wait_held(&self, phase: &str, name: &str) -> String {
        within(TAKEOVER, &format!("{phase} held by {name}"), || {
            let authority = self.cluster.authority();
            let waits_for = waits_for(&authority);
            let is_held = waits_for.len() == 1 && waits_for[0].starts_with(&format!("{name}: "));
            (authority["phase"] == phase && is_held).then(|| waits_for[0].clone())
        })
    }

    #[track_caller]
    pub fn wait_steady(&self) {
        within(TAKEOVER, "the rollover to end", || {
            (self.cluster.authority()["phase"] == "Steady").then_some(())
        });
    }

    /// Waits until a condition of an object has this status and reason, and returns its message.
    #[track_caller]
    pub fn wait_condition(&self, object: &str, [of_type, status, reason]: [&str; 3]) -> String {
        let is_it = |condition: &&Value| {
            condition["type"] == of_type && condition["status"] == status && condition["reason"] == reason
        };
        within(TAKEOVER, &format!("{object} {of_type} {status}: {reason}"), || {
            let fleet = self.cluster.json(&["status"]);
            let objects =
                [&fleet["authorities"], &fleet["certificates"]].map(|list| list.as_array().unwrap());
            let found = objects.into_iter().flatten().find(|found| found["name"] == object)?;
            let condition = found["status"]["conditions"].as_array()?.iter().find(is_it)?;
            Some(condition["message"].as_str().unwrap().to_owned())
        })
    }

    #[track_caller]
    pub fn wait_unready(&self, object: &str, reason: &str) -> String {
        self.wait_condition(object, ["Ready", "False", reason])
    }

    #[track_caller]
    pub fn wait_healthy(&self) {
        within(TAKEOVER, "no problem found", || self.cluster.run(&["check"]).status.success().then_some(()));
    }

    /// Waits until nothing of these services is recorded with the keyring of an authority.
    #[track_caller]
    pub fn wait_crossed_out(&self, authority: &str) {
        within(TAKEOVER, &format!("nothing recorded with {authority}"), || {
            self.cluster.ledger(authority)?.is_empty().then_some(())
        });
    }

    /// Waits until this holds for the roots that each service trusts.
    #[track_caller]
    pub fn wait_roots(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        within(TAKEOVER, what, || self.roots().iter().all(|roots| holds(roots)).then_some(()));
    }
}

impl Calls {
    /// None has failed.
    #[track_caller]
    pub fn end(self) {
        self.0.into_iter().for_each(end);
    }
}

/// What the rollover waits for, by the status of its authority.
pub fn waits_for(authority: &Value) -> Vec<String> {
    let waiting = authority["rollover"]["waitingFor"].as_array().into_iter().flatten();
    waiting.map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn lead(cluster: &Cluster) -> Agent {
    let controller = cluster.launch_controller().args(["--shutdown-delay", "1s"]).start();
    within(TAKEOVER, "the controller to lead", || leads(&controller).then_some(()));
    controller
}
