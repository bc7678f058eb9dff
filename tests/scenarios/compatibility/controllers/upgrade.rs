//! Upgraded and taken back while nothing is under way: what is published stays as it is, byte for byte, whichever of the
//! two definitions of the objects the API server has.

use std::collections::BTreeMap;

use hotcert::api::resource::{CertificateAuthority, ServiceCertificate};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kit::agent::Agent;
use kit::client::both;
use kit::kube::SYSTEM;
use kit::pki::hex;
use kit::within;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::Release::{self, Previous, Today};
use crate::control_plane::{AUTHORITY, Cluster, Service, TAKEOVER, leads};

/// A certificate that may change: when it has been rotated, a controller has planned everything.
const CANARY: &str = "shop/mtls-demo-canary";

struct Fleet {
    cluster: Cluster,
    services: Vec<Service>,
}

/// What must not change: the Secrets of the services and of their versions, each with its resource version, and the
/// roots with their keys, each by its SHA-256.
#[derive(Debug, PartialEq)]
struct Issued {
    secrets: BTreeMap<String, Option<String>>,
    roots: BTreeMap<String, String>,
}

impl Fleet {
    /// Created by the command line and the controller of the previous release, under its definitions.
    fn of_the_previous_release() -> (Self, Agent) {
        let cluster = Cluster::empty();
        define(&cluster, Previous);
        let controller = start(&cluster, Previous);
        cluster.server.apply("demo/certificates.yaml");
        let issue = ["issue", CANARY, "--authority", AUTHORITY];
        within(TAKEOVER, "the canary issued", || {
            cluster.run_by(&Previous.hotcert(), &issue).status.success().then_some(())
        });
        let service = |name, release: Release| {
            cluster.wait_published(name);
            cluster.service_as(name, |launch, app| release.agent(launch.inbound("", app.address)))
        };
        let services = vec![service("payments", Previous), service("storefront", Today)];
        (Self { cluster, services }, controller)
    }

    fn issued(&self) -> Issued {
        let server = &self.cluster.server;
        let secrets = server.run(server.api::<Secret>("shop").list(&ListParams::default())).unwrap();
        let secrets = secrets.into_iter().filter(|secret| !secret.name_any().contains("canary"));
        Issued {
            secrets: secrets.map(|secret| (secret.name_any(), secret.resource_version())).collect(),
            // What is recorded beside them is the controller's own affair.
            roots: self
                .cluster
                .keyring(AUTHORITY)
                .into_iter()
                .filter(|(name, _)| name.ends_with(".crt") || name.ends_with(".key"))
                .map(|(name, part)| (name, hex(&Sha256::digest(part))))
                .collect(),
        }
    }

    /// Has a controller that has taken over plan everything, by the command line of its release. The second time
    /// nothing is left to write, of the objects neither.
    #[track_caller]
    fn settle(&self, release: Release) {
        self.rotate_canary(release);
        let before = within(TAKEOVER, "the fleet healthy", || self.healthy());
        self.rotate_canary(release);
        assert_eq!(self.objects(), before, "{release:?} writes objects again and again");
    }

    #[track_caller]
    fn rotate_canary(&self, release: Release) {
        let rotated = self.cluster.run_by(&release.hotcert(), &["rotate", CANARY]);
        assert!(rotated.status.success(), "{release:?}: {}", both(&rotated));
    }

    /// The objects with their resource versions, once the command line of either release finds no fault.
    fn healthy(&self) -> Option<BTreeMap<String, Option<String>>> {
        let before = self.objects();
        for release in [Previous, Today] {
            let checked = self.cluster.run_by(&release.hotcert(), &["check"]);
            checked.status.success().then_some(())?;
        }
        (self.objects() == before).then_some(before)
    }

    /// All but the canary.
    fn objects(&self) -> BTreeMap<String, Option<String>> {
        let server = &self.cluster.server;
        let certificates = server.api::<ServiceCertificate>("shop");
        let certificates = server.run(certificates.list(&ListParams::default())).unwrap();
        let authorities = Api::<CertificateAuthority>::all(server.admin());
        let authorities = server.run(authorities.list(&ListParams::default())).unwrap();
        let versions = certificates.into_iter().map(|object| (object.name_any(), object.resource_version()));
        let versions = versions
            .chain(authorities.into_iter().map(|object| (object.name_any(), object.resource_version())));
        versions.filter(|(name, _)| !name.contains("canary")).collect()
    }

    /// What the statuses say of the certificates and of the root.
    fn reported(&self) -> Value {
        let fleet = self.cluster.json(&["status"]);
        let certificates = fleet["certificates"].as_array().unwrap().iter();
        let certificates = certificates.filter(|object| object["name"] != "mtls-demo-canary").map(|object| {
            let status = &object["status"];
            let mut conditions = status["conditions"].as_array().unwrap().iter();
            let ready = conditions.find(|condition| condition["type"] == "Ready").unwrap();
            assert_eq!(ready["status"], "True", "{object:#}");
            ["serial", "sha256", "version", "revision", "root", "notAfter", "publishedAt"].map(|field| {
                assert!(!status[field].is_null(), "{field} of {object:#}");
                status[field].clone()
            })
        });
        let authority = self.cluster.authority();
        assert_eq!(authority["phase"], "Steady", "{authority:#}");
        json!([certificates.collect::<Vec<_>>(), authority["root"]])
    }
}

/// The definitions of the objects that a release comes with.
pub fn define(cluster: &Cluster, release: Release) {
    let printed = std::process::Command::new(release.hotcert()).arg("crds").output().unwrap();
    let applied = cluster.server.kubectl(&["apply", "-f", "-"], &String::from_utf8(printed.stdout).unwrap());
    assert!(printed.status.success() && applied.status.success(), "{}", both(&applied));
}

/// Ends a controller, and starts one of this release in its place.
pub fn replace(controller: &mut Agent, cluster: &Cluster, release: Release) {
    controller.signal(Signal::TERM);
    assert!(controller.wait_exit(TAKEOVER).success());
    // The previous one keeps it until it expires, when its webhook had no certificate.
    cluster.server.delete::<Lease>(SYSTEM, "hotcert-controller");
    *controller = start(cluster, release);
}

pub fn start(cluster: &Cluster, release: Release) -> Agent {
    let launch = cluster.launch_controller().args(["--shutdown-delay", "1s"]);
    let controller = release.controller(launch).start();
    within(TAKEOVER, "the controller to lead", || leads(&controller).then_some(()));
    controller
}

#[test]
fn an_upgrade_and_the_way_back_issue_nothing_anew_whichever_definitions_are_there() {
    let (fleet, mut controller) = Fleet::of_the_previous_release();
    fleet.settle(Previous);
    let (issued, reported) = (fleet.issued(), fleet.reported());
    let generations = || {
        let of = |service: &Service| service.agent.health()["generation"].clone();
        fleet.services.iter().map(of).collect::<Vec<_>>()
    };
    let served = generations();

    // The definitions are upgraded before the controller, the controller is taken back before them, and so on.
    let mut running = Previous;
    for (definitions, release) in [
        (Today, Previous),
        (Today, Today),
        (Previous, Today),
        (Previous, Previous),
        (Previous, Today),
        (Today, Today),
    ] {
        define(&fleet.cluster, definitions);
        if release != running {
            replace(&mut controller, &fleet.cluster, release);
            running = release;
        }
        fleet.settle(release);
        let step = format!("the controller of {release:?} under the definitions of {definitions:?}");
        assert_eq!(fleet.issued(), issued, "{step}");
        assert_eq!(fleet.reported(), reported, "{step}");
        assert_eq!(generations(), served, "{step}");
    }
}
