//! The recipe for HashiCorp Vault in the documents, against OpenBao: what hotcert pushes is read by another client, and
//! what another client writes is fetched.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use hotcert::pki::x509_facts::Leaf;
use kit::agent::Agent;
use kit::client::both;
use kit::installed;
use kit::machine::{AUTHORITY, Machine, certificate};
use kit::pki::write;
use kit::{own, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::documents::block::{Marker, with};
use crate::notifications::machine;

const TOKEN: &str = "a-token-that-nobody-guesses";
/// As the documents call it.
const DOCUMENTED: &str = "https://vault.example:8200/";

/// A server, and a directory whose controller follows the recipe.
struct Stage {
    machine: Machine,
    bao: Child,
    settings: PathBuf,
    controller: Agent,
}

impl Stage {
    fn start() -> Self {
        let machine = machine();
        let home = machine.home.path().join("vault");
        std::fs::create_dir(&home).unwrap();
        let files = machine.credentials("receiver");
        let listener = json!({"listener": {"tcp": {
            "address": format!("127.0.0.1:{}", own::port(0)),
            "tls_cert_file": files.cert, "tls_key_file": files.key,
        }}});
        let config = write(&home.join("server.json"), listener.to_string());
        let mut bao = installed::bao();
        // In memory, unsealed, with the engine at secret/. It has a listener without TLS as well.
        bao.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", TOKEN]);
        bao.arg(format!("-dev-listen-address=127.0.0.1:{}", own::port(1))).arg("-config").arg(config);
        bao.env("HOME", &home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let bao = bao.spawn().unwrap();

        std::fs::copy(&files.ca, home.join("ca.crt")).unwrap();
        write(&home.join("vault.token"), TOKEN);
        let settings = write(&home.join("settings.yaml"), recipe());
        let controller = machine.controller(1, &["--notifications", settings.to_str().unwrap()]);
        let stage = Self { machine, bao, settings, controller };
        until("the server answers", || stage.client("read", "nothing", Value::Null).map(drop));
        stage
    }

    fn start_controller(&mut self) {
        let settings = ["--notifications", self.settings.to_str().unwrap()];
        self.controller = self.machine.controller(1, &settings);
    }

    /// Another client of the server. `None` if it fails.
    fn client(&self, action: &str, id: &str, input: Value) -> Option<Value> {
        let mut client = installed::lasting_python("vault.py");
        client.args([action, id, "--token", TOKEN, "--url", &address(), "--ca"]);
        client.arg(self.machine.credentials("receiver").ca);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        if !output.status.success() {
            println!("{}", both(&output));
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    fn read(&self, id: &str) -> Value {
        self.client("read", id, Value::Null).unwrap()
    }

    /// Waits for the version of this number.
    fn pushed(&self, id: &str, number: u64) -> Value {
        until("the version is pushed", || {
            Some(self.read(id)).filter(|secret| secret["metadata"]["version"] == number)
        })
    }

    /// A file of what is published.
    fn published(&self, name: &str, file: &str) -> String {
        std::fs::read_to_string(self.machine.secret(name).join(file)).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.bao), Signal::KILL);
        let _ = self.bao.wait();
    }
}

fn address() -> String {
    format!("https://localhost:{}/", own::port(0))
}

/// The settings in the documents, with the address of this server.
fn recipe() -> String {
    let blocks = with(Marker::YamlSettings);
    let mut recipes = blocks.iter().filter(|block| block.text.contains(DOCUMENTED));
    let (recipe, None) = (recipes.next().unwrap(), recipes.next()) else { panic!("two recipes") };
    let local = "    ca: ca.crt\n    allowNetworks: [127.0.0.0/8, '::1']\n";
    format!("{}{local}", recipe.text.replace(DOCUMENTED, &address()))
}

fn leaf(pem: &str) -> String {
    Leaf::read(pem.as_bytes()).unwrap().sha256
}

#[test]
fn what_is_pushed_is_what_another_client_of_the_secret_reads() {
    let mut stage = Stage::start();
    stage.machine.succeeds(&[
        "issue",
        &certificate("kept"),
        "--authority",
        AUTHORITY,
        "--manager",
        "vault/kept",
    ]);
    for number in 1..=2 {
        let secret = stage.pushed("kept", number);
        let parts = secret["data"].as_object().unwrap();
        assert_eq!(
            parts.keys().collect::<Vec<_>>(),
            ["certificate", "chain", "key"],
            "nothing is wrapped twice"
        );
        let text = |part: &str| parts[part].as_str().unwrap();
        assert_eq!(leaf(text("certificate")), leaf(&stage.published("kept", "tls.crt")));
        assert_eq!(text("key").trim(), stage.published("kept", "tls.key").trim());
        if number == 1 {
            stage.machine.succeeds(&["rotate", &certificate("kept")]);
        }
    }
    // What was pushed is read as what it is: a controller that does not remember pushes nothing again.
    stage.controller.signal(Signal::KILL);
    let report = stage.machine.home.path().join("state/certificates/shop/mtls-local-kept/report.json");
    std::fs::remove_file(&report).unwrap();
    stage.start_controller();
    until("the push is in the status", || {
        let report: Value = serde_json::from_slice(&std::fs::read(&report).ok()?).ok()?;
        (report["status"]["externalSync"]["version"] == 2).then_some(())
    });
    assert_eq!(stage.read("kept")["metadata"]["version"], 2);
}

#[test]
fn what_another_client_writes_is_fetched_and_published() {
    let stage = Stage::start();
    let source = certificate("source");
    stage.machine.succeeds(&["issue", &source, "--authority", AUTHORITY]);
    let write = || {
        let part = |file: &str| stage.published("source", file);
        let secret = json!({"certificate": part("tls.crt"), "key": part("tls.key"), "ca": part("ca.crt")});
        stage.client("write", "orders", secret).unwrap();
        leaf(&part("tls.crt"))
    };
    let orders = certificate("orders");
    let first = write();
    stage.machine.succeeds(&["issue", &orders, "--manager", "vault/orders"]);
    assert_eq!(leaf(&stage.published("orders", "tls.crt")), first);
    assert_eq!(stage.published("orders", "ca.crt").trim(), stage.published("source", "ca.crt").trim());
    stage.machine.succeeds(&["rotate", &source]);
    let second = write();
    assert_ne!(first, second);
    stage.machine.succeeds(&["rotate", &orders]);
    assert_eq!(leaf(&stage.published("orders", "tls.crt")), second);
}
