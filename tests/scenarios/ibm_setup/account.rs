//! An account at IBM Cloud, which `demo-manager` plays, and a directory to run the commands in.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kit::agent::program;
use kit::client::{Curl, both};
use kit::pki::{Pair, Pki, write};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::managers::Manager;

pub const API_KEY: &str = "an-api-key-of-some-length";
pub const RECEIVER: &str = "https://hooks.example";
/// CRN of the Secrets Manager instance.
pub const SECRETS_MANAGER: &str =
    "crn:v1:bluemix:public:secrets-manager:us-south:a/0123abcd:11112222-3333-4444-5555-666677778888::";

pub struct Account {
    pub pki: Pki,
    home: TempDir,
    manager: Manager,
}

impl Account {
    pub fn new() -> Self {
        let (pki, home) = (Pki::default(), TempDir::new().unwrap());
        let (identity, at) = (home.path().join("identity"), home.path());
        std::fs::create_dir(&identity).unwrap();
        let pair = pki.leaf("ibm");
        write(&identity.join("tls.crt"), &pair.cert);
        write(&identity.join("tls.key"), &pair.key);
        write(&at.join("ca.crt"), pki.roots());
        write(&at.join("ibm-api.key"), API_KEY);
        let mut manager = Command::new(program("demo-manager"));
        manager.arg("--state").arg(at.join("state")).arg("--identity").arg(&identity);
        manager.args(["--listen", "127.0.0.1:0", "--instance", SECRETS_MANAGER]);
        manager.args(["--keep", "hotcert-certificate", "--keep", "other"]);
        manager.arg("--api-key").arg(at.join("ibm-api.key")).arg("--ca").arg(at.join("ca.crt"));
        manager.arg("--record").arg(at.join("record"));
        let account = Self { manager: Manager::start(manager), pki, home };
        account.endpoints(None);
        account
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.manager.port())
    }

    /// The file with the addresses; `events`: another address of Event Notifications.
    pub fn endpoints(&self, events: Option<&str>) -> String {
        let url = self.url();
        let own = format!("{url}/event-notifications");
        let events = events.unwrap_or(&own);
        let name = if events == own { "endpoints.yaml" } else { "other-endpoints.yaml" };
        let text = format!(
            "iam: {url}\nresourceController: {url}\nglobalCatalog: {url}/catalog/api/v1\nglobalTagging: {url}\n\
             secretsManager: {url}\neventNotifications: {events}\nca: ca.crt\nallowNetworks: [127.0.0.0/8, '::1']\n"
        );
        write(&self.path(name), text).to_str().unwrap().to_owned()
    }

    fn common(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        vec!["--api-key".into(), path("ibm-api.key"), "--endpoints".into(), path("endpoints.yaml")]
    }

    pub fn setup(&self, more: &[&str]) -> Vec<String> {
        self.with_receiver(RECEIVER, more)
    }

    pub fn with_receiver(&self, receiver: &str, more: &[&str]) -> Vec<String> {
        let own = ["setup", "ibm", "--receiver", receiver, "--timeout", "10s", "--namespace", "shop"];
        let directory = ["--directory".to_owned(), self.home.path().to_str().unwrap().to_owned()];
        let more = own.iter().chain(more).map(|&text| text.to_owned());
        more.chain(directory).chain(self.common()).collect()
    }

    pub fn teardown(&self, more: &[&str]) -> Vec<String> {
        let words = ["teardown", "ibm"].iter().chain(more).map(|&text| text.to_owned());
        words.chain(self.common()).collect()
    }

    pub fn run(&self, args: &[String], input: &str) -> Output {
        let mut hotcert = Command::new(program("hotcert"));
        hotcert.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut hotcert = hotcert.spawn().unwrap();
        // It may end without reading.
        let _ = hotcert.stdin.take().unwrap().write_all(input.as_bytes());
        let output = hotcert.wait_with_output().unwrap();
        assert!(!text(&output).contains(API_KEY), "{}", text(&output));
        output
    }

    #[track_caller]
    pub fn succeeds(&self, args: &[String]) -> String {
        let output = self.run(args, "");
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn refused(&self, args: &[String]) -> String {
        let output = self.run(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        text(&output)
    }

    /// What was requested since the last call.
    pub fn take_requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("record")).unwrap();
        std::fs::write(self.path("record"), "").unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// As a person with the API key.
    pub fn post(&self, path: &str, body: &Value) {
        let curl = Curl::new(&format!("{}{path}", self.url())).args(["--ipv4", "--cacert"]);
        let curl = curl.args([self.path("ca.crt")]).args(["-H", &format!("authorization: Bearer {API_KEY}")]);
        let answer = curl.args(["--data-binary", &body.to_string()]).run().answer;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// A version of a secret in plain JSON.
    pub fn version(&self, name: &str) -> Value {
        let Pair { cert, key, .. } = self.pki.leaf(name);
        json!({"data": {"certificate": cert, "key": key}})
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    pub fn write(&self, name: &str, content: &str) {
        write(&self.path(name), content);
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }
}

pub fn text(output: &Output) -> String {
    both(output)
}

/// Ids and what stands for them, the same for all.
pub fn without_ids(path: &str) -> String {
    let is_id = |segment: &str| {
        segment.starts_with('{')
            || segment.split('-').map(str::len).eq([8, 4, 4, 4, 12])
            || ["event-notifications", "secrets-manager"].contains(&segment)
    };
    let parts = path.split('/').enumerate().map(|(at, part)| if at > 1 && is_id(part) { "ID" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
