//! A directory: the certificates without an API server and without pods, for what the controller itself costs.

use std::fs;
use std::process::Command;

use kit::agent::{Agent, Launch, program};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::site::{AUTHORITY, Requests, Site, certificate, namespace};

pub struct Directory {
    count: usize,
    home: TempDir,
}

impl Directory {
    /// So many certificates, spread over so many namespaces. In memory where there is a directory of memory: what is
    /// measured is not the disk.
    pub fn create(count: usize, namespaces: usize) -> Self {
        let home = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let authorities = home.path().join("authorities");
        fs::create_dir_all(&authorities).unwrap();
        let all: Vec<_> = (0..namespaces).map(namespace).collect();
        let authority =
            object("CertificateAuthority", &json!({"name": AUTHORITY}), &json!({"namespaces": all}));
        fs::write(authorities.join(format!("{AUTHORITY}.yaml")), authority).unwrap();
        for name in &all {
            fs::create_dir_all(home.path().join("certificates").join(name)).unwrap();
        }
        for number in 0..u32::try_from(count).unwrap() {
            let (name, namespace) = (certificate(number), &all[number as usize % namespaces]);
            let file = home.path().join(format!("certificates/{namespace}/{name}.yaml"));
            let metadata = json!({"name": name, "namespace": namespace});
            fs::write(file, object("ServiceCertificate", &metadata, &json!({"authority": AUTHORITY})))
                .unwrap();
        }
        Self { count, home }
    }

    fn run(&self, args: &[&str]) {
        let mut hotcert = Command::new(program("hotcert"));
        let output = hotcert.args(args).arg("--dir").arg(self.home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn object(kind: &str, metadata: &Value, spec: &Value) -> String {
    json!({"apiVersion": "hotcert.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
        .to_string()
}

impl Site for Directory {
    fn count(&self) -> usize {
        self.count
    }

    fn start_controller(&self) -> Agent {
        Launch::controller_on(self.home.path(), 1).start()
    }

    fn requests(&self) -> Requests {
        Requests::new()
    }

    /// It is published.
    fn done_metric(&self) -> (&'static str, &'static [(&'static str, &'static str)]) {
        ("hotcert_controller_actions_total", &[("action", "publish"), ("outcome", "ok")])
    }

    fn rotate_one(&self, _: &str) {
        self.run(&["rotate", &format!("{}/{}", namespace(0), certificate(0))]);
    }

    fn roll_over(&self) {
        self.run(&["rollover", AUTHORITY]);
    }
}
