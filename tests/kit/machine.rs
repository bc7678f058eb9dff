//! One machine without a cluster: a directory with an authority and certificates, what `hotcert --dir` does
//! to it, and a real agent behind each certificate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{Agent, Launch, program};
use crate::app::App;
use crate::client::{both, served};
use crate::pki::{Credentials, serial, write};
use crate::until;

pub const AUTHORITY: &str = "root-local-shop";

/// A directory with an authority and a certificate for each of these services, each behind an agent.
pub struct Machine {
    pub home: TempDir,
    pub services: Vec<Service>,
}

pub struct Service {
    pub name: &'static str,
    pub agent: Agent,
    pub app: App,
}

impl Machine {
    pub fn with(names: &[&'static str]) -> Self {
        let mut machine = Self { home: TempDir::new().unwrap(), services: Vec::new() };
        for name in names {
            machine.succeeds(&["issue", &certificate(name), "--authority", AUTHORITY, "--create-authority"]);
            let app = App::default();
            let agent = Launch::new(&machine.secret(name)).inbound("", app.address).ready();
            machine.register(name, agent.address("proof"), Some(agent.address("admin")));
            machine.services.push(Service { name, agent, app });
        }
        machine
    }

    /// Registers an agent: a file names its addresses.
    pub fn register(&self, name: &str, proof: SocketAddr, admin: Option<SocketAddr>) {
        let pods = self.home.path().join("pods/shop");
        std::fs::create_dir_all(&pods).unwrap();
        let admin = admin.map(|admin| format!("admin: {admin}\n")).unwrap_or_default();
        write(&pods.join(format!("{name}.yaml")), format!("secret: {name}-tls\nproof: {proof}\n{admin}"));
    }

    pub fn secret(&self, name: &str) -> PathBuf {
        self.home.path().join(format!("secrets/shop/{name}-tls"))
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let mut hotcert = Command::new(program("hotcert"));
        hotcert.args(args).arg("--dir").arg(self.home.path()).env_remove("HOTCERT_DIR");
        hotcert.output().unwrap()
    }

    /// What it prints, which must not fail.
    #[track_caller]
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "hotcert {args:?}: {}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(&[args, &["--json"]].concat())).unwrap()
    }

    /// What it says when it fails, which it must.
    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "hotcert {args:?}: {}", both(&output));
        both(&output)
    }

    pub fn service(&self, name: &str) -> &Service {
        self.services.iter().find(|service| service.name == name).unwrap()
    }

    /// What OpenSSL is shown, as a client with the service's own identity. It opens the files one after the other, so
    /// that a swap in between gives it a key of another certificate, and it is asked again.
    #[track_caller]
    pub fn shown(&self, name: &str) -> String {
        let address = self.service(name).agent.address("inbound");
        until("OpenSSL is let in", || served(address, &self.credentials(name)))
    }

    /// The files of a client that has the service's own identity.
    pub fn credentials(&self, name: &str) -> Credentials {
        let files = self.secret(name);
        Credentials { cert: files.join("tls.crt"), key: files.join("tls.key"), ca: files.join("ca.crt") }
    }

    /// `hotcert controller` on this directory; waits for this many listeners.
    pub fn controller(&self, listeners: usize, args: &[&str]) -> Agent {
        Launch::controller_on(self.home.path(), listeners).args(args).start()
    }

    pub fn roots(&self, name: &str) -> Vec<String> {
        let served = self.service(name).agent.health()["served"]["roots"].clone();
        served.as_array().unwrap().iter().map(|root| root["sha256"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn certificate(name: &str) -> String {
    format!("shop/mtls-local-{name}")
}

pub fn serial_in(status: &Value) -> String {
    serial(status["status"]["serial"].as_str().unwrap())
}
