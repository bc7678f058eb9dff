//! The agent as a person would start it: the real program, known by what it logs and answers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{Answer, ask, get};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::reference::assert_documented;
use crate::{DEADLINE, until, within};

/// Programs that are used in place of the workspace's own.
static GIVEN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// From now on, this is the program of that name.
pub fn use_program(name: &str, path: PathBuf) {
    GIVEN.lock().unwrap().insert(name.into(), path);
}

/// A program of this workspace, built by the same profile as the test that asks.
pub fn program(name: &str) -> PathBuf {
    if let Some(given) = GIVEN.lock().unwrap().get(name) {
        return given.clone();
    }
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    // A test is in `deps`, a program beside the others.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run the tests with ./tests/run", path.display());
    path
}

/// The agent of the previous release.
pub fn previous_agent() -> PathBuf {
    previous("HOTCERT_PREVIOUS_AGENT")
}

/// `hotcert` of the previous release.
pub fn previous_hotcert() -> PathBuf {
    previous("HOTCERT_PREVIOUS_CONTROLLER")
}

fn previous(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run the tests with ./tests/run")).into()
}

/// A command line that is completed by a program and its arguments, which then run as this user.
pub fn as_user(user: u32, groups: &[u32], umask: &str) -> Command {
    let (own, others) = groups.split_first().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &own.to_string()]);
    match others {
        [] => drop(command.arg("--clear-groups")),
        _ => {
            let others: Vec<_> = others.iter().map(u32::to_string).collect();
            command.args(["--groups", &others.join(",")]);
        }
    }
    command.args(["sh", "-c", &format!("umask {umask} && exec \"$@\""), "sh"]);
    command
}

/// A command line in the making. Starts with admin and proof on ports of the system's choice.
pub struct Launch {
    command: Command,
    listeners: usize,
    reads_output: bool,
}

impl Launch {
    pub fn new(identity: &Path) -> Self {
        Self::without_volume().args(["--identity".as_ref(), identity])
    }

    /// For an identity that comes from somewhere else.
    pub fn without_volume() -> Self {
        Self::bare(2).args(["--log-format", "json", "--admin", "127.0.0.1:0", "--proof", "127.0.0.1:0"])
    }

    /// Without any flags; waits for this many listeners.
    pub fn bare(listeners: usize) -> Self {
        Self::program("hotcert-agent", "run", listeners)
    }

    /// `hotcert controller`, which logs and answers as the agent does.
    pub fn controller(kubeconfig: &Path) -> Self {
        let mut bare = Self::program("hotcert", "controller", 2);
        bare.command.arg("--kubeconfig").arg(kubeconfig);
        bare.args(["--log-format", "json", "--admin", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"])
    }

    /// `hotcert controller` on a directory.
    pub fn controller_on(directory: &Path, listeners: usize) -> Self {
        let mut bare = Self::program("hotcert", "controller", listeners);
        bare.command.arg("--dir").arg(directory);
        bare.args(["--log-format", "json", "--admin", "127.0.0.1:0"])
    }

    /// A program of the workspace with its arguments, as a service manager is told of it.
    pub fn by_command_line(words: &[&str], listeners: usize) -> Self {
        let (name, rest) = words.split_first().unwrap();
        let name = name.strip_prefix("/usr/local/bin/").unwrap_or_else(|| panic!("{name} is not of ours"));
        let (subcommand, flags) = rest.split_first().unwrap();
        Self::program(name, subcommand, listeners).args(flags)
    }

    fn program(name: &str, subcommand: &str, listeners: usize) -> Self {
        let mut command = Command::new(program(name));
        command.arg(subcommand);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOTCERT_")) {
            command.env_remove(name);
        }
        Self { command, listeners, reads_output: false }
    }

    /// With an access log, which `Agent::output` is.
    pub fn access_log(self) -> Self {
        self.read_output().args(["--access-log", "stdout"])
    }

    /// With `Agent::output` as its standard output.
    pub fn read_output(self) -> Self {
        Self { reads_output: true, ..self }
    }

    /// With this program in place of the workspace's own.
    pub fn by_program(self, program: &Path) -> Self {
        self.by(Command::new(program))
    }

    /// Under a soft limit of file descriptors, as a shell sets it.
    pub fn under_soft_limit(self, descriptors: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -S -n \"$1\" && shift && exec \"$@\"", "sh", &descriptors.to_string()]);
        shell.arg(self.command.get_program());
        self.by(shell)
    }

    /// Under a hard limit of file descriptors, which it cannot raise.
    pub fn under_hard_limit(self, descriptors: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &descriptors.to_string()]);
        shell.arg(self.command.get_program());
        self.by(shell)
    }

    /// With these lines as its /etc/hosts, which takes root.
    pub fn with_hosts(self, hosts: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
        unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(hosts).arg(self.command.get_program());
        self.by(unshare)
    }

    /// As this user, in no groups but these; the first is its own. The programs are those in `programs`, since a user
    /// may not enter the folder where they were built.
    pub fn as_user(self, user: u32, groups: &[u32], umask: &str, programs: &Path) -> Self {
        let program = programs.join(Path::new(self.command.get_program()).file_name().unwrap());
        let mut setpriv = as_user(user, groups, umask);
        setpriv.arg(program);
        self.by(setpriv)
    }

    /// With the same arguments and environment after these.
    fn by(self, mut command: Command) -> Self {
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command, ..self }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// `--inbound [http:]127.0.0.1:0=TARGET`
    pub fn inbound(self, mode: &str, target: impl std::fmt::Display) -> Self {
        self.listener("--inbound", format!("{mode}127.0.0.1:0={target}"))
    }

    /// `--inbound [http:]LISTEN=TARGET`
    pub fn inbound_at(self, mode: &str, listen: SocketAddr, target: impl std::fmt::Display) -> Self {
        self.listener("--inbound", format!("{mode}{listen}={target}"))
    }

    /// `--outbound [http:]127.0.0.1:0=ROUTE`
    pub fn outbound(self, mode: &str, route: impl std::fmt::Display) -> Self {
        self.listener("--outbound", format!("{mode}127.0.0.1:0={route}"))
    }

    /// A forward proxy that connects to this machine, where the servers of tests are.
    pub fn http_proxy(self) -> Self {
        // By a variable, which the previous release does not know and passes over.
        self.env("HOTCERT_HTTP_PROXY_ALLOW", "127.0.0.0/8,::1").strict_http_proxy()
    }

    /// A forward proxy that connects to other machines alone, as it does by default.
    pub fn strict_http_proxy(self) -> Self {
        self.listener("--http-proxy", "127.0.0.1:0".into())
    }

    fn listener(mut self, flag: &str, value: String) -> Self {
        self.listeners += 1;
        self.args([flag, value.as_str()])
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Starts, and waits until every listener is bound.
    pub fn start(mut self) -> Agent {
        if self.reads_output {
            self.command.stdout(Stdio::piped());
        }
        let mut child = self.command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let output = child.stdout.take().map(Log::of).unwrap_or_default();
        let mut agent = Agent { child, log, output, known: Vec::new() };
        until("every listener bound", || {
            let exited = agent.child.try_wait().unwrap();
            assert_eq!(exited, None, "the agent ended at start:\n{}", agent.log_text());
            (agent.bound().len() >= self.listeners).then_some(())
        });
        until("the admin port answers", || get(agent.address("admin"), "/livez").ok());
        agent
    }

    /// Starts with a log that nobody sees, and waits until the admin port answers; these are its listeners.
    pub fn start_logging_to(mut self, file: std::fs::File, known: &[(&'static str, SocketAddr)]) -> Agent {
        let child = self.command.stdin(Stdio::null()).stderr(file).spawn().unwrap();
        let agent = Agent { child, log: Log::default(), output: Log::default(), known: known.to_vec() };
        until("the admin port answers", || get(agent.address("admin"), "/livez").ok());
        agent
    }

    /// Starts, and waits until the agent is ready.
    pub fn ready(self) -> Agent {
        let agent = self.start();
        agent.wait_ready();
        agent
    }
}

pub struct Agent {
    child: Child,
    pub log: Log,
    /// What it writes to standard output, if it has an access log.
    pub output: Log,
    /// Listeners that the log need not name.
    known: Vec<(&'static str, SocketAddr)>,
}

impl Agent {
    /// The first listener of a role: `inbound`, `outbound`, `http-proxy`, `admin`, `proof`, `webhook`.
    pub fn address(&self, role: &str) -> SocketAddr {
        *self.addresses(role).first().unwrap_or_else(|| panic!("no listener {role}"))
    }

    /// All listeners of a role, in the order in which they were configured.
    pub fn addresses(&self, role: &str) -> Vec<SocketAddr> {
        self.bound().into_iter().filter(|(of, _)| of == role).map(|(_, address)| address).collect()
    }

    fn bound(&self) -> Vec<(String, SocketAddr)> {
        let lines = self.log_lines("bound");
        let logged = lines.iter().map(|l| (text(&l["role"]), text(&l["address"]).parse().unwrap()));
        self.known.iter().map(|(role, address)| ((*role).to_owned(), *address)).chain(logged).collect()
    }

    /// The log's lines with this message.
    pub fn log_lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log.lines();
        lines
            .iter()
            .filter_map(|l| serde_json::from_str(l).ok())
            .filter(|l: &Value| l["message"] == message)
            .collect()
    }

    /// The lines of the access log so far.
    pub fn accesses(&self) -> Vec<Value> {
        let lines = self.output.lines();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Waits for a line of the access log in which this field has this value.
    #[track_caller]
    pub fn access(&self, field: &str, value: impl Into<Value>) -> Value {
        let value = value.into();
        let of = |line: &Value| line[field] == value;
        until(&format!("a line with {field} {value}"), || self.accesses().into_iter().find(of))
    }

    pub fn log_text(&self) -> String {
        self.log.lines().join("\n")
    }

    /// How many lines of the log contain this.
    pub fn logged(&self, part: &str) -> usize {
        self.log.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until a line of the log contains this: lines are written after what they tell of has been seen.
    #[track_caller]
    pub fn until_logged(&self, part: &str) {
        until(&format!("logged: {part}"), || (self.logged(part) > 0).then_some(()));
    }

    pub fn admin(&self, path: &str) -> Answer {
        get(self.address("admin"), path).expect("the admin port answers")
    }

    pub fn health(&self) -> Value {
        serde_json::from_slice(&self.admin("/healthz").body).unwrap()
    }

    /// `/metrics` in the first of these formats.
    pub fn exposition(&self, accept: &str) -> Answer {
        let admin = self.address("admin");
        let request = format!(
            "GET /metrics HTTP/1.1\r\nhost: {admin}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        );
        ask(admin, &request).expect("the admin port answers")
    }

    pub fn metrics(&self) -> Metrics {
        let text = self.exposition("application/openmetrics-text").text();
        let metrics = Metrics::parse(&text).unwrap_or_else(|fault| panic!("{fault} in:\n{text}"));
        assert_documented(&metrics);
        metrics
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let end = std::time::Instant::now() + DEADLINE;
        while std::time::Instant::now() < end {
            last = self.health();
            if holds(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        panic!("not within {DEADLINE:?}: {what}; health is {last:#}")
    }

    #[track_caller]
    pub fn wait_ready(&self) {
        until("ready", || (self.admin("/readyz").status == 200).then_some(()));
    }

    /// Waits until the agent says of itself that it serves this leaf.
    #[track_caller]
    pub fn wait_serving(&self, serial: &str) -> Value {
        let of = |h: &Value| crate::pki::serial(h["served"]["serial"].as_str().unwrap_or_default());
        self.wait_until(&format!("serving {serial}"), |health| of(health) == serial)
    }

    /// Waits until the directory has been looked at this many more times.
    #[track_caller]
    pub fn wait_looks(&self, count: usize) {
        for _ in 0..count {
            let before = self.health()["last_attempt"]["at"].clone();
            self.wait_until("another look", |health| health["last_attempt"]["at"] != before);
        }
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        within(deadline, "the agent's end", || self.child.try_wait().unwrap())
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most that was resident at any time, in KiB.
    pub fn resident_peak(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Time that its process has had of any core.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which may hold anything: user and system time are the 12th and 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.close();
        self.output.close();
        if std::thread::panicking() {
            eprintln!("--- log of the agent\n{}\n---", self.log_text());
        }
    }
}
