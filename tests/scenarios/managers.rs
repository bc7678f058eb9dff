//! Certificates that a manager outside keeps as well, end to end between separate processes over HTTPS: the
//! manager, the controller, agents, and load that must not fail. Announced as about to expire, signed, served and
//! brought back; or rotated in the manager, announced, fetched and served.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kit::agent::{Agent, Launch, program};
use kit::app::App;
use kit::client::{Answer, Curl, python, python_files};
use kit::machine::{AUTHORITY, Machine, Service, certificate};
use kit::pipe::Pipe;
use kit::pki::write;
use kit::{own, until, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::notifications::machine;

const INSTANCE: &str = "crn:v1:bluemix:public:cloudcerts:demo:a/hotcert:1::";
const API_KEY: &str = "an-api-key-of-some-length";
const TOKEN: &str = "a-token-that-nobody-guesses";
const LOCAL: &str = "allowNetworks: [127.0.0.0/8, '::1']";

/// The manager as a program.
pub struct Manager {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

/// A directory with its controller and the manager outside; each may be killed and comes again.
struct Stage {
    machine: Machine,
    controller: Option<Agent>,
    manager: Option<Manager>,
    /// Of the manager and of the receiver.
    ports: (u16, u16),
}

impl Stage {
    fn start() -> Self {
        let machine = machine();
        let files = machine.home.path().join("settings");
        std::fs::create_dir(&files).unwrap();
        write(&files.join("api.key"), API_KEY);
        write(&files.join("bearer"), format!("Bearer {API_KEY}"));
        write(&files.join("token"), TOKEN);
        std::fs::copy(machine.credentials("receiver").ca, files.join("ca.crt")).unwrap();
        let mut stage =
            Self { machine, controller: None, manager: None, ports: (own::port(0), own::port(1)) };
        stage.settings("['kept', 'orders', 'plain']");
        stage.start_controller();
        stage.start_manager();
        stage
    }

    /// `ids`: what the namespace may have.
    fn settings(&self, ids: &str) {
        let home = self.machine.home.path().join("settings");
        let manager = format!("https://localhost:{}", self.ports.0);
        let key =
            format!("{manager}/api/v1/instances/{}/notifications/publicKey?keyFormat=pem", escaped(INSTANCE));
        let common = format!("ca: ca.crt, {LOCAL}");
        let text = format!(
            "managers:\n\
             - {{ name: demo, kind: ibm-secrets-manager, url: '{manager}', iamUrl: '{manager}/identity/token', \
             apiKey: api.key, allow: {{ shop: {ids} }}, {common} }}\n\
             - {{ name: plain, kind: https, get: '{manager}/plain/{{id}}', put: '{manager}/plain/{{id}}', \
             headers: {{ authorization: bearer }}, allow: {{ shop: {ids} }}, {common}, \
             pointers: {{ certificate: /data/certificate, key: /data/key, chain: /data/chain, roots: /data/roots }} }}\n\
             senders:\n\
             - {{ name: expiry, provider: ibm-certificate-manager, instance: '{INSTANCE}', keyUrl: '{key}', names: ['shop/*'], {common} }}\n\
             - {{ name: changes, provider: ibm-secrets-manager, instance: '{INSTANCE}', header: {{ name: x-token, file: token }}, names: ['shop/*'] }}\n"
        );
        let new = write(&home.join("new.yaml"), text);
        std::fs::rename(new, home.join("settings.yaml")).unwrap();
    }

    fn start_controller(&mut self) {
        let settings = self.machine.home.path().join("settings/settings.yaml");
        let (listen, identity) = (format!("127.0.0.1:{}", self.ports.1), self.machine.secret("receiver"));
        let (settings, identity) = (settings.to_str().unwrap(), identity.to_str().unwrap());
        let args =
            ["--notifications", settings, "--receiver-listen", &listen, "--receiver-identity", identity];
        self.controller = Some(self.machine.controller(2, &args));
    }

    fn start_manager(&mut self) {
        let (home, settings) = (self.machine.home.path(), self.machine.home.path().join("settings"));
        let receiver = format!("https://localhost:{}/notifications", self.ports.1);
        let mut manager = Command::new(program("demo-manager"));
        manager
            .arg("--state")
            .arg(home.join("manager"))
            .arg("--identity")
            .arg(self.machine.secret("receiver"));
        manager.args(["--listen", &format!("127.0.0.1:{}", self.ports.0), "--instance", INSTANCE]);
        manager.args([
            "--keep",
            "kept",
            "--make",
            "orders=orders.shop.svc",
            "--make",
            "plain=plain.shop.svc",
        ]);
        manager.args([
            "--callback",
            &format!("{receiver}/expiry"),
            "--events",
            &format!("{receiver}/changes"),
        ]);
        manager
            .arg("--api-key")
            .arg(settings.join("api.key"))
            .arg("--events-token")
            .arg(settings.join("token"));
        // Leaves are younger than that here: what is announced is what a test wants.
        manager.args(["--thresholds", "1h"]).arg("--ca").arg(settings.join("ca.crt"));
        self.manager = Some(Manager::start(manager));
    }

    fn manager(&self) -> &Manager {
        self.manager.as_ref().unwrap()
    }

    /// As a person with the API key.
    fn call(&self, method: &str, path: &str) -> Answer {
        let url = format!("https://localhost:{}{path}", self.ports.0);
        let ca = self.machine.credentials("receiver").ca;
        let curl = Curl::new(&url).args(["--ipv4", "-X", method, "--cacert"]).args([ca]);
        curl.args(["-H", &format!("authorization: Bearer {API_KEY}")]).run().answer
    }

    fn versions(&self, id: &str) -> Vec<String> {
        let directory = self.machine.home.path().join("manager/secrets").join(id);
        let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut numbers: Vec<(u64, String)> = names
            .filter_map(|path| {
                let number = path.file_name()?.to_str()?.parse().ok()?;
                Some((number, leaf(&path)))
            })
            .collect();
        numbers.sort();
        numbers.into_iter().map(|(_, leaf)| leaf).collect()
    }

    /// A certificate, and an agent behind it.
    fn service(&mut self, name: &'static str, args: &[&str]) {
        self.machine.succeeds(&[&["issue", &certificate(name)], args].concat());
        let app = App::default();
        let agent = Launch::new(&self.machine.secret(name)).inbound("", app.address).ready();
        self.machine.register(name, agent.address("proof"), Some(agent.address("admin")));
        self.machine.services.push(Service { name, agent, app });
    }

    fn status(&self, name: &str) -> Value {
        let fleet = self.machine.json(&["status"]);
        let certificates = fleet["certificates"].as_array().unwrap();
        let name = format!("mtls-local-{name}");
        certificates.iter().find(|one| one["name"] == name.as_str()).unwrap()["status"].clone()
    }

    /// Digest of the leaf that the agent shows.
    fn shown(&self, name: &str) -> String {
        let health = self.machine.service(name).agent.health();
        health["served"]["sha256"].as_str().unwrap_or_default().to_owned()
    }

    fn load(&self, name: &str) -> Pipe {
        let mut load = python("load.py");
        load.arg(self.machine.service(name).agent.address("inbound").to_string());
        load.args(python_files(&self.machine.credentials(name)))
            .args(["--server", &format!("{name}.shop.svc")]);
        let mut load = Pipe::program(load);
        assert_eq!(load.line()["running"], true);
        load
    }

    fn kill_controller(&mut self) {
        self.controller.as_ref().unwrap().signal(Signal::KILL);
        self.controller = None;
    }
}

impl Manager {
    /// `demo-manager` with its arguments.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let read = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stdout.map_while(Result::ok) {
                read.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let manager = Self { child, lines };
        manager.port();
        manager
    }

    /// Waits until it listens.
    pub fn port(&self) -> u16 {
        let address = until("the manager listens", || {
            self.output().iter().find_map(|line| line["listening"].as_str()?.parse::<SocketAddr>().ok())
        });
        address.port()
    }

    fn output(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// When this was sent last.
    fn sent(&self, kind: &str, id: &str) -> Option<SystemTime> {
        let output = self.output();
        let line = output.iter().rev().find(|line| line["sent"] == kind && line["secret"] == id)?;
        Some(UNIX_EPOCH + Duration::from_millis(line["at"].as_u64()?))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn escaped(crn: &str) -> String {
    crn.replace(':', "%3A").replace('/', "%2F")
}

/// Digest of the leaf in this directory.
fn leaf(directory: &std::path::Path) -> String {
    let pem = std::fs::read(directory.join("tls.crt")).unwrap();
    hotcert::pki::x509_facts::Leaf::read(&pem).unwrap().sha256
}

fn ended(mut load: Pipe) -> u64 {
    load.end();
    let counts = load.line();
    assert_eq!(counts["failed"], 0, "{counts}");
    counts["kept"].as_u64().unwrap() + counts["fresh"].as_u64().unwrap()
}

fn millis(since: Option<SystemTime>) -> u128 {
    since.unwrap().elapsed().unwrap_or_default().as_millis()
}

#[test]
fn an_expiring_certificate_is_renewed_and_brought_back_to_its_manager() {
    let mut stage = Stage::start();
    stage.service("kept", &["--authority", AUTHORITY, "--manager", "demo/kept"]);
    let first = until("the first version brought", || stage.versions("kept").pop());
    assert_eq!(first, stage.shown("kept"));
    let load = stage.load("kept");
    assert_eq!(stage.call("POST", "/demo/secrets/kept/expire").status, 202);
    let second = until("another leaf served", || Some(stage.shown("kept")).filter(|shown| *shown != first));
    let served = millis(stage.manager().sent("cert_about_to_expire_reimport_required", "kept"));
    until("it brought back", || (stage.versions("kept") == [first.clone(), second.clone()]).then_some(()));
    let back = millis(stage.manager().sent("cert_about_to_expire_reimport_required", "kept"));
    println!("announced to served: {served} ms, to brought back: {back} ms");
    // What it says of that changes nothing.
    until("it announced", || stage.manager().sent("cert_reimported", "kept"));
    let imported = until("it written down", || {
        Some(stage.status("kept")["externalSync"].clone()).filter(|imported| imported["version"] == 2)
    });
    assert_eq!(
        (&imported["manager"], &imported["sha256"]),
        (&Value::from("demo"), &Value::from(second.clone()))
    );

    // The previous one is at hand, here and there.
    stage.machine.succeeds(&["rollback", &certificate("kept")]);
    assert_eq!(stage.shown("kept"), first);
    let all = [first.clone(), second, first];
    until("it brought back again", || (stage.versions("kept") == all).then_some(()));
    println!("{} requests, none failed", ended(load));
    assert_eq!(stage.status("kept")["version"], 3);
}

#[test]
fn a_secret_that_was_rotated_in_its_manager_is_fetched_and_served() {
    let mut stage = Stage::start();
    for (name, manager) in [("orders", "demo/orders"), ("plain", "plain/plain")] {
        stage.service(name, &["--manager", manager]);
        assert_eq!(stage.versions(name), [stage.shown(name)]);
        let load = stage.load(name);
        let mut took = Vec::new();
        for number in 2..=6 {
            assert_eq!(stage.call("POST", &format!("/demo/secrets/{name}/rotate")).status, 201);
            let begin = Instant::now();
            let newest = stage.versions(name).pop().unwrap();
            until("what was rotated is served", || (stage.shown(name) == newest).then_some(()));
            took.push(begin.elapsed());
            until("it seen to be served", || {
                let status = stage.status(name);
                let served = &status["served"];
                (status["version"] == number
                    && served["revision"] == status["revision"]
                    && served["serving"] == 1)
                    .then_some(())
            });
        }
        took.sort();
        let requests = ended(load);
        println!(
            "{name}: rotated to served {:?} median, {:?} longest; {requests} requests, none failed",
            took[2], took[4]
        );
    }
    // What is announced a second time changes nothing.
    let told = stage.machine.home.path().join("manager/secrets/orders/delivery.json");
    let mut heard = until("it written down that all was heard", || {
        let heard: Value = serde_json::from_slice(&std::fs::read(&told).ok()?).ok()?;
        Some(heard).filter(|heard| heard["rotated"] == 6)
    });
    stage.manager = None;
    heard["rotated"] = 5.into();
    let new = write(&told.with_extension("new"), heard.to_string());
    std::fs::rename(new, &told).unwrap();
    stage.start_manager();
    let again = until("it announced again", || {
        let said = stage.manager().output();
        said.into_iter().find(|line| line["sent"] == "secret_rotated" && line["secret"] == "orders")
    });
    assert_eq!((&again["status"], &again["response"]["outcome"]), (&200.into(), &"replay".into()));
    assert_eq!(stage.status("orders")["version"], 6);

    // The previous one is at hand, and stays although the manager has another.
    let versions = stage.versions("orders");
    stage.machine.succeeds(&["rollback", &certificate("orders")]);
    assert_eq!(stage.shown("orders"), versions[4]);
    stage.machine.succeeds(&["rotate", &certificate("orders")]);
    assert_eq!(stage.shown("orders"), versions[4], "to look there again finds nothing new");
    assert_eq!(stage.status("orders")["version"], 7);
}

#[test]
fn whoever_is_killed_at_any_time_nothing_is_lost_and_nothing_rotated_twice() {
    let mut stage = Stage::start();
    stage.service("kept", &["--authority", AUTHORITY, "--manager", "demo/kept"]);
    stage.service("orders", &["--manager", "demo/orders"]);
    until("the first version brought", || stage.versions("kept").pop());
    for round in 1..=8_u64 {
        // One that was made for an announcement is not replaced for the next before long: another spec is
        // another leaf.
        let file = stage.machine.home.path().join("certificates/shop/mtls-local-kept.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.contains("lifetime"));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let new = write(
            &file.with_extension("new"),
            text.replace("spec:\n", &format!("spec:\n  lifetime: {}d\n", 30 - round)),
        );
        std::fs::rename(new, &file).unwrap();
        until("what was changed brought", || {
            (stage.status("kept")["externalSync"]["version"] == 2 * round).then_some(())
        });
        let (kept, orders) = (stage.shown("kept"), stage.versions("orders").pop().unwrap());
        assert_eq!(stage.call("POST", "/demo/secrets/kept/expire").status, 202);
        assert_eq!(stage.call("POST", "/demo/secrets/orders/rotate").status, 201);
        let (begin, pause) = (Instant::now(), Duration::from_millis(9 * round));
        until("the time to die", || (begin.elapsed() > pause).then_some(()));
        if round % 2 == 0 {
            stage.kill_controller();
            stage.start_controller();
        } else {
            stage.manager = None;
            stage.start_manager();
        }
        within(Duration::from_secs(60), "both flows at their ends", || {
            let there = (stage.versions("kept"), stage.versions("orders"));
            let (newest, fetched) = (there.0.last()?, there.1.last()?);
            let is_done = *newest != kept && *fetched != orders;
            (is_done && stage.shown("kept") == *newest && stage.shown("orders") == *fetched).then_some(())
        });
    }
    // Whatever is said again by now has been said.
    until("all announced", || {
        let told = |id: &str| {
            let told = stage.machine.home.path().join(format!("manager/secrets/{id}/delivery.json"));
            serde_json::from_slice::<Value>(&std::fs::read(told).ok()?).ok()
        };
        let (kept, orders) = (told("kept")?, told("orders")?);
        (kept["rotated"] == 17 && kept["reimported"] == 17 && orders["rotated"] == 9).then_some(())
    });
    for (name, number) in [("kept", 17), ("orders", 9)] {
        assert_eq!(stage.versions(name).len(), number, "{name}");
        until("its status to say so", || (stage.status(name)["version"] == number).then_some(()));
    }
}

#[test]
fn what_is_not_allowed_or_cannot_be_used_changes_nothing() {
    let mut stage = Stage::start();
    stage.service("orders", &["--manager", "demo/orders"]);
    let first = stage.shown("orders");
    let says = |what: &str| {
        within(Duration::from_secs(30), what, || {
            stage.status("orders").to_string().contains(what).then_some(())
        });
        assert_eq!(stage.shown("orders"), first);
        assert!(String::from_utf8(stage.machine.run(&["check"]).stdout).unwrap().contains("NotFetched"));
    };
    let rotate = || assert_eq!(stage.call("POST", "/demo/secrets/orders/rotate").status, 201);

    stage.settings("['other']");
    let loaded = || stage.controller.as_ref().unwrap().logged("notification settings changed");
    until("the settings taken", || (loaded() == 1).then_some(()));
    rotate();
    says("do not allow the namespace shop to fetch orders");
    let key = stage.machine.home.path().join("settings/api.key");
    write(&key, "another-key-of-some-length");
    stage.settings("['*']");
    says("400 Bad Request (BXNIM0415E: Provided API key could not be found.): check the API key");
    // A key that belongs to another certificate.
    let newest = stage.machine.home.path().join("manager/secrets/orders/2");
    let good = std::fs::read(newest.join("tls.key")).unwrap();
    let other = stage.machine.home.path().join("manager/secrets/plain/1/tls.key");
    std::fs::copy(other, newest.join("tls.key")).unwrap();
    write(&key, API_KEY);
    says("agents would reject it");
    write(&newest.join("tls.key"), good);
    let newest = leaf(&newest);
    // The third attempt comes after one to two minutes, and the first two may be over.
    within(Duration::from_secs(150), "what can be used again is served", || {
        (stage.shown("orders") == newest).then_some(())
    });
    until("it said", || (stage.status("orders")["version"] == 2).then_some(()));

    // A manager that the settings do not name.
    let strays = certificate("strays");
    stage.machine.refused(&["issue", &strays, "--manager", "nobody/orders", "--timeout", "1s"]);
    within(Duration::from_secs(30), "it said that there is no such manager", || {
        let status = stage.status("strays").to_string();
        status.contains("name no manager nobody").then_some(())
    });
    assert_eq!(stage.versions("orders").len(), 2);
}
