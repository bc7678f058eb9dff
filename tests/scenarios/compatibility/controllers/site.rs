//! Where controllers follow each other: a cluster with traffic, or a directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use hotcert::api::resource::CertificateAuthority;
use k8s_openapi::api::coordination::v1::Lease;
use kit::agent::{Agent, Launch};
use kit::client::both;
use kit::kube::SYSTEM;
use kit::machine::{self, certificate};
use kit::pki::{dns, write};
use kit::within;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::Release::{self, Previous, Today};
use super::upgrade::define;
use crate::control_plane::{AUTHORITY, Cluster, Service, TAKEOVER, leads};

/// What is published for a service, by file.
pub type Files = Vec<(String, String)>;

pub trait Site {
    fn authority_name(&self) -> &'static str;

    /// Starts a controller, which leads when this returns.
    fn start(&self, release: Release) -> Agent;

    /// Clears away what a controller leaves that was killed.
    fn clear(&self) {}

    fn run(&self, release: Release, args: &[&str]) -> Output;

    fn files(&self, service: &str) -> Files;

    /// Makes an agent known that serves what was published for payments.
    fn register(&self, name: &str, proof: SocketAddr);

    /// Agents that trust roots, which are to be those of the authority in the end.
    fn agents(&self) -> Vec<&Agent>;

    #[track_caller]
    fn succeeds(&self, release: Release, args: &[&str]) -> String {
        let output = self.run(release, args);
        assert!(output.status.success(), "{release:?}: hotcert {args:?}: {}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// As today's command line reads it.
    #[track_caller]
    fn status(&self) -> Value {
        serde_json::from_str(&self.succeeds(Today, &["status", "--json"])).unwrap()
    }

    fn authority(&self) -> Value {
        self.status()["authorities"][0]["status"].clone()
    }

    /// The number of the version that is published of each certificate.
    fn versions(&self) -> BTreeMap<String, u64> {
        let status = self.status();
        let certificates = status["certificates"].as_array().unwrap().iter();
        let version = |object: &Value| object["status"]["version"].as_u64().unwrap();
        certificates.map(|object| (object["name"].as_str().unwrap().to_owned(), version(object))).collect()
    }

    #[track_caller]
    fn wait_healthy(&self) {
        within(TAKEOVER, "no problem found by either command line", || {
            let check = |release| self.run(release, &["check"]).status.success();
            (check(Previous) && check(Today)).then_some(())
        });
    }
}

/// Two services on an API server: storefront, by today's agent, calls payments, by the previous one.
pub struct Traffic {
    pub cluster: Cluster,
    payments: Service,
    pub storefront: Service,
}

impl Traffic {
    /// Created by this release, under its definitions.
    pub fn created_by(release: Release) -> Self {
        let cluster = Cluster::empty();
        define(&cluster, release);
        cluster.server.apply("demo/certificates.yaml");
        let (soon, how) = (json!({"spec": {"drainDeadline": "2s"}}), PatchParams::default());
        let authorities = Api::<CertificateAuthority>::all(cluster.server.admin());
        cluster.server.run(authorities.patch(AUTHORITY, &how, &Patch::Merge(soon))).unwrap();
        let creator = release.controller(cluster.launch_controller()).start();
        ["payments", "storefront"].iter().for_each(|name| cluster.wait_published(name));
        let payments = cluster
            .service_as("payments", |launch, app| Previous.agent(launch.inbound("http:", app.address)));
        let route = format!("{}#{}", payments.agent.address("inbound"), dns("payments"));
        let storefront = cluster.service_as("storefront", |launch, _| launch.outbound("http:", route));
        drop(creator);
        let site = Self { cluster, payments, storefront };
        site.clear();
        site
    }
}

impl Site for Traffic {
    fn authority_name(&self) -> &'static str {
        AUTHORITY
    }

    fn start(&self, release: Release) -> Agent {
        let controller = release.controller(self.cluster.launch_controller()).start();
        within(TAKEOVER, "the controller to lead", || leads(&controller).then_some(()));
        controller
    }

    /// The lease would expire after 15 s, which `control_plane` waits for.
    fn clear(&self) {
        self.cluster.server.delete::<Lease>(SYSTEM, "hotcert-controller");
    }

    fn run(&self, release: Release, args: &[&str]) -> Output {
        self.cluster.run_by(&release.hotcert(), args)
    }

    fn files(&self, service: &str) -> Files {
        let data = self.cluster.secret(service).unwrap().data.unwrap();
        data.into_iter().map(|(name, data)| (name, String::from_utf8(data.0).unwrap())).collect()
    }

    fn register(&self, name: &str, proof: SocketAddr) {
        let std::net::IpAddr::V4(address) = proof.ip() else { panic!("{proof}") };
        let containers =
            json!([{"name": "app", "image": "app"}, {"name": "hotcert-agent", "image": "hotcert-agent"}]);
        self.cluster.pod_with(name, "payments-tls", address, containers);
    }

    fn agents(&self) -> Vec<&Agent> {
        vec![&self.payments.agent, &self.storefront.agent]
    }
}

/// The same on one machine, without traffic.
pub struct Directory {
    home: TempDir,
    agents: Vec<Agent>,
}

impl Directory {
    pub fn created_by(release: Release) -> Self {
        let mut site = Self { home: TempDir::new().unwrap(), agents: Vec::new() };
        for name in ["payments", "storefront"] {
            let issue =
                ["issue", &certificate(name), "--authority", machine::AUTHORITY, "--create-authority"];
            site.succeeds(release, &issue);
            let agent = release.other().agent(Launch::new(&site.secret(name))).ready();
            site.register_secret(name, name, agent.address("proof"));
            site.agents.push(agent);
        }
        site
    }

    fn secret(&self, service: &str) -> PathBuf {
        self.home.path().join(format!("secrets/shop/{service}-tls"))
    }

    fn register_secret(&self, name: &str, service: &str, proof: SocketAddr) {
        let pods = self.home.path().join("pods/shop");
        std::fs::create_dir_all(&pods).unwrap();
        write(&pods.join(format!("{name}.yaml")), format!("secret: {service}-tls\nproof: {proof}\n"));
    }
}

impl Site for Directory {
    fn authority_name(&self) -> &'static str {
        machine::AUTHORITY
    }

    fn start(&self, release: Release) -> Agent {
        release.controller(Launch::controller_on(self.home.path(), 1)).start()
    }

    fn run(&self, release: Release, args: &[&str]) -> Output {
        let mut hotcert = Command::new(release.hotcert());
        hotcert.args(args).arg("--dir").arg(self.home.path()).env_remove("HOTCERT_DIR").output().unwrap()
    }

    fn files(&self, service: &str) -> Files {
        let entries = std::fs::read_dir(self.secret(service)).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = entries.filter(|path| !name(path).starts_with("..") && path.is_file());
        files.map(|path| (name(&path), std::fs::read_to_string(path).unwrap())).collect()
    }

    fn register(&self, name: &str, proof: SocketAddr) {
        self.register_secret(name, "payments", proof);
    }

    fn agents(&self) -> Vec<&Agent> {
        self.agents.iter().collect()
    }
}
