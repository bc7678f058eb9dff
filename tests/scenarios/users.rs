//! One machine with a user for hotcert and others for agents: the commands of the page as they stand, with the
//! units' own command lines, settings and umask. The users exist as numbers only; the test needs root to become them.

mod unit;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kit::agent::{Agent, Launch, as_user, program};
use kit::app::App;
use kit::client::{both, served};
use kit::pki::{Credentials, write};
use kit::{DEADLINE, until, within};
use tempfile::TempDir;

use crate::documents::block::{Marker, repository, with};
use unit::Unit;

const PAGE: &str = "docs/machine-service.md";
const HOTCERT: u32 = 64_100;
/// Users of agents, and the group of the Secret of each.
const PAYMENTS: (u32, u32) = (65_534, 64_111);
const STOREFRONT: (u32, u32) = (64_102, 64_112);
const STRANGER: u32 = 64_103;

/// A machine on which the page was followed.
struct Installed {
    home: TempDir,
}

impl Installed {
    fn empty() -> Self {
        assert!(rustix::process::geteuid().is_root(), "run the tests as root: this one becomes other users");
        let home = TempDir::new().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let installed = Self { home };
        for folder in ["bin", "etc/systemd/system", "var/lib"] {
            fs::create_dir_all(installed.path(folder)).unwrap();
        }
        for name in ["hotcert", "hotcert-agent"] {
            fs::copy(program(name), installed.path("bin").join(name)).unwrap();
        }
        installed
    }

    /// With everything that the page says.
    fn by_the_page() -> Self {
        let installed = Self::empty();
        let blocks = with(Marker::ShUsers);
        assert!(blocks.iter().all(|block| block.page == PAGE), "{PAGE} alone is run here");
        let script: Vec<_> = blocks.iter().map(|block| installed.here(&block.text)).collect();
        // What changes the machine is left out, and a name is the number that it stands for.
        let head = format!(
            "set -euo pipefail\nuseradd() {{ :; }}; groupadd() {{ :; }}; systemctl() {{ :; }}\n\
             sudo() {{ shift 2; setpriv --reuid {HOTCERT} --regid {HOTCERT} --clear-groups \"$@\"; }}\n"
        );
        let output = Command::new("bash")
            .args(["-c", &(head + &script.concat())])
            .current_dir(repository())
            .env("PATH", format!("{}:{}", installed.path("bin").display(), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", both(&output));
        installed
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn dir(&self) -> PathBuf {
        self.path("var/lib/hotcert")
    }

    fn secret(&self, service: &str) -> PathBuf {
        self.dir().join(format!("secrets/shop/{service}-tls"))
    }

    /// The text with the places and numbers of this machine.
    fn here(&self, text: &str) -> String {
        let mut text = text.replace("-g hotcert-payments", &format!("-g {}", PAYMENTS.1));
        text = text.replace("-g hotcert-storefront", &format!("-g {}", STOREFRONT.1));
        text = text.replace("-g hotcert ", &format!("-g {HOTCERT} "));
        text = text.replace("-o hotcert ", &format!("-o {HOTCERT} "));
        for folder in ["/var/lib", "/etc"] {
            text = text.replace(folder, &format!("{}{folder}", self.home.path().display()));
        }
        text
    }

    fn unit(&self, name: &str) -> Unit {
        Unit::read(&self.path("etc/systemd/system").join(name))
    }

    fn start_controller(&self) -> Agent {
        let unit = self.unit("hotcert-controller.service");
        assert_eq!((unit.one("User"), unit.one("StateDirectoryMode")), ("hotcert", "0711"));
        assert_eq!(fs::metadata(self.dir()).unwrap().mode() & 0o7777, 0o711, "systemd would change it");
        let mut launch = Launch::by_command_line(&unit.command_line(), 1);
        for (name, value) in unit.environment() {
            launch = launch.env(name, value.replace("%S", self.path("var/lib").to_str().unwrap()));
        }
        let launch = launch.env("HOTCERT_ADMIN", "127.0.0.1:0").env("HOTCERT_LOG_FORMAT", "json");
        launch.as_user(HOTCERT, &[HOTCERT], unit.one("UMask"), &self.path("bin")).start()
    }

    /// The agent of `payments`, as its unit starts it.
    fn start_agent(&self, app: &App) -> Agent {
        let unit = self.unit("hotcert-agent@.service");
        assert_eq!((unit.one("DynamicUser"), unit.one("SupplementaryGroups")), ("yes", "hotcert-%i"));
        assert_eq!(unit.one("EnvironmentFile"), "/etc/hotcert/%i.env");
        let mut launch = Launch::by_command_line(&unit.command_line(), 3).env("HOTCERT_LOG_FORMAT", "json");
        let settings = fs::read_to_string(self.path("etc/hotcert/payments.env")).unwrap();
        for (name, value) in unit::settings(&settings) {
            // Ports of the system's choice.
            let value = match name {
                "HOTCERT_INBOUND" => {
                    let (mode, rest) = value.split_once(':').unwrap();
                    assert_eq!(rest, "[::]:8443=127.0.0.1:8080");
                    format!("{mode}:127.0.0.1:0={}", app.address)
                }
                "HOTCERT_ADMIN" | "HOTCERT_PROOF" => {
                    assert!(value.starts_with("127.0.0.1:"), "{value}");
                    "127.0.0.1:0".into()
                }
                _ => self.here(value),
            };
            launch = launch.env(name, value);
        }
        let (user, group) = PAYMENTS;
        launch.as_user(user, &[user, group], unit.one("UMask"), &self.path("bin")).ready()
    }

    fn hotcert(&self, umask: &str, args: &[&str]) -> Output {
        let mut command = as_user(HOTCERT, &[HOTCERT], umask);
        command.arg(self.path("bin/hotcert")).args(args).arg("--dir").arg(self.dir());
        command.output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let output = self.hotcert("022", args);
        assert!(output.status.success(), "hotcert {args:?}: {}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The files that this user can read, relative to DIR.
    fn readable(&self, user: u32, groups: &[u32]) -> Vec<String> {
        let mut find = as_user(user, groups, "022");
        let listed = find.args(["find", "-L", "."]).args(["-type", "f", "-readable"]).current_dir(self.dir());
        let listed = String::from_utf8(listed.output().unwrap().stdout).unwrap();
        let mut files: Vec<_> = listed.lines().map(|line| line.trim_start_matches("./").to_owned()).collect();
        // A directory that one may enter and not list is tried by name.
        for service in ["payments", "storefront"] {
            let mut list = as_user(user, groups, "022");
            let list = list.args(["find", "-L"]).arg(self.secret(service)).args(["-type", "f", "-readable"]);
            let listed = String::from_utf8(list.output().unwrap().stdout).unwrap();
            let below = format!("{}/", self.dir().display());
            files.extend(listed.lines().map(|line| line.trim_start_matches(&below).to_owned()));
        }
        files
    }

    /// That each reads what is its own, and nothing else that is secret.
    #[track_caller]
    fn assert_confined(&self) {
        for (user, groups, own) in [
            (PAYMENTS.0, vec![PAYMENTS.0, PAYMENTS.1], Some("secrets/shop/payments-tls/")),
            (STOREFRONT.0, vec![STOREFRONT.0, STOREFRONT.1], Some("secrets/shop/storefront-tls/")),
            (STRANGER, vec![STRANGER], None),
        ] {
            let readable = self.readable(user, &groups);
            let public = ["authorities/", "certificates/", "pods/"];
            for file in readable.iter().filter(|file| !public.iter().any(|folder| file.starts_with(folder))) {
                assert!(own.is_some_and(|own| file.starts_with(own)), "user {user} reads {file}");
            }
            if let Some(own) = own {
                for name in ["tls.crt", "tls.key", "ca.crt"] {
                    assert!(readable.contains(&format!("{own}{name}")), "user {user}: {readable:?}");
                }
            }
        }
        for (service, group) in [("payments", PAYMENTS.1), ("storefront", STOREFRONT.1)] {
            let data = self.secret(service).join("..data/");
            let meta = fs::metadata(&data).unwrap();
            assert_eq!((meta.mode() & 0o777, meta.gid(), meta.uid()), (0o750, group, HOTCERT));
            for entry in fs::read_dir(&data).unwrap() {
                let meta = entry.unwrap().metadata().unwrap();
                assert_eq!((meta.mode() & 0o7777, meta.gid(), meta.uid()), (0o640, group, HOTCERT));
            }
        }
    }
}

#[test]
fn agent_of_another_user_serves_and_rotates_and_reads_no_key_but_its_own() {
    let installed = Installed::by_the_page();
    installed.assert_confined();
    let app = App::default();
    let agent = installed.start_agent(&app);
    let controller = installed.start_controller();
    controller.wait_ready();
    let pods = installed.dir().join("pods/shop/payments.yaml");
    let registered = fs::read_to_string(&pods).unwrap();
    let registered = registered
        .replace("127.0.0.1:9643", &agent.address("proof").to_string())
        .replace("127.0.0.1:9640", &agent.address("admin").to_string());
    write(&pods, registered);

    let files = installed.secret("payments");
    let client =
        Credentials { cert: files.join("tls.crt"), key: files.join("tls.key"), ca: files.join("ca.crt") };
    let shown = || until("OpenSSL is let in", || served(agent.address("inbound"), &client));
    let mut serials = vec![shown()];
    // By a command, with the umask of a person; the controller reconciles beside it.
    for _ in 0..3 {
        installed.succeeds(&["rotate", "shop/mtls-prod-payments"]);
        serials.push(shown());
        installed.assert_confined();
    }
    serials.dedup();
    assert_eq!(serials.len(), 4, "{serials:?}");

    // Root would leave files that hotcert cannot read.
    let by_root = |args: &[&str]| {
        let mut command = Command::new(installed.path("bin/hotcert"));
        command.args(args).arg("--dir").arg(installed.dir()).output().unwrap()
    };
    let refused = by_root(&["rotate", "shop/mtls-prod-payments"]);
    assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    assert!(both(&refused).contains(&format!("sudo -u '#{HOTCERT}'")), "{}", both(&refused));
    let status = by_root(&["status"]);
    assert!(status.status.success() && both(&status).contains("mtls-prod-payments"), "{}", both(&status));
}

#[test]
fn secret_below_a_shared_directory_needs_a_umask_that_lets_the_group_in() {
    let installed = Installed::empty();
    let secrets = installed.dir().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    for (path, group, mode) in [(&installed.dir(), HOTCERT, 0o711), (&secrets, PAYMENTS.1, 0o2750)] {
        std::os::unix::fs::chown(path, Some(HOTCERT), Some(group)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let issue = ["issue", "shop/mtls-prod-payments", "--authority", "root-prod-shop", "--create-authority"];
    let refused = installed.hotcert("077", &[&issue[..], &["--timeout", "3s"]].concat());
    let said = both(&refused);
    assert!(!refused.status.success() && said.contains("umask 027"), "{said}");
    assert!(!secrets.join("shop").exists());
    // What was asked for is carried out by whoever may.
    let rotated = installed.hotcert("027", &["rotate", "shop/mtls-prod-payments"]);
    assert!(rotated.status.success(), "{}", both(&rotated));
    let meta = |path: &Path| fs::metadata(path).unwrap();
    for (path, mode) in
        [("shop", 0o2750), ("shop/payments-tls", 0o2750), ("shop/payments-tls/tls.key", 0o640)]
    {
        let meta = meta(&secrets.join(path));
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (mode, PAYMENTS.1), "{path}");
    }
}

#[test]
fn settings_in_units_are_those_of_the_programs() {
    for (unit, reference) in [
        ("hotcert-controller.service", "docs/reference/controller-flags.md"),
        ("hotcert-agent@.service", "docs/reference/agent-flags.md"),
        ("payments.env", "docs/reference/agent-flags.md"),
    ] {
        let text = fs::read_to_string(repository().join("manifests/systemd").join(unit)).unwrap();
        let reference = fs::read_to_string(repository().join(reference)).unwrap();
        for name in unit::names(&text) {
            assert!(reference.contains(&format!("`{name}`")), "{unit}: {name} is no setting");
        }
    }
}

#[test]
fn directory_that_becomes_shared_is_published_again_for_its_group() {
    let machine = kit::machine::Machine::with(&["payments"]);
    let _controller = machine.controller(1, &[]);
    let secret = machine.secret("payments");
    let key = || fs::metadata(secret.join("tls.key")).unwrap().mode() & 0o777;
    let leaf = || fs::read(secret.join("tls.crt")).unwrap();
    let before = leaf();
    assert_eq!(key(), 0o600);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o2750)).unwrap();
    within(DEADLINE, "published for the group", || (key() == 0o640).then_some(()));
    assert_eq!(leaf(), before);
}
