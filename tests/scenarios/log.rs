//! The log is a courtesy: whatever becomes of standard error, requests are answered, programs end in order, and what
//! was lost is counted and said.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kit::agent::{Agent, Launch, program};
use kit::app::App;
use kit::client::{Curl, SERVER, both, python_files};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki};
use kit::scene::Scene;
use kit::volume::Volume;
use kit::{DEADLINE, own, until, within};
use rustix::process::Signal;
use tempfile::TempDir;

/// Every message of every library: a request is a hundred lines.
const EVERYTHING: [(&str, &str); 2] =
    [("HOTCERT_LOG", "trace,hotcert=trace"), ("HOTCERT_LOG_FORMAT", "json")];
/// How long it may take to log more than the queue has room for, on a machine busy with other tests.
const FILLED: Duration = Duration::from_secs(60);
/// What an orderly end may take beyond the second that it waits for the log.
const END: [&str; 4] = ["--shutdown-delay", "0s", "--outbound-linger", "0s"];

/// A program that logs a lot whenever it is asked for something.
trait Busy {
    const DROPPED: &str;

    fn process(&mut self) -> &mut Agent;

    /// Asks, and is answered.
    fn ask(&self);

    fn dropped(&mut self, reason: &str) -> f64 {
        self.process().metrics().sum(Self::DROPPED, &[("reason", reason)])
    }

    /// Asks until lines are dropped, and a little longer.
    #[track_caller]
    fn ask_until_lines_are_dropped(&mut self, reason: &str) {
        within(FILLED, "lines are dropped", || {
            self.ask();
            (self.dropped(reason) > 0.0).then_some(())
        });
        self.ask();
    }

    #[track_caller]
    fn ends_in_order(&mut self) {
        self.process().signal(Signal::TERM);
        let status = self.process().wait_exit(DEADLINE);
        assert_eq!(status.code(), Some(0), "{status}");
    }

    #[track_caller]
    fn goes_on_while_nobody_reads(&mut self) {
        self.process().log.hold();
        self.ask_until_lines_are_dropped("queue_full");
        self.process().log.read_on();
        let said = "log lines were dropped: standard error is not read fast enough";
        self.process().until_logged(said);
        self.process().log.hold();
        let before = self.dropped("queue_full");
        within(FILLED, "more lines are dropped", || {
            self.ask();
            (self.dropped("queue_full") > before).then_some(())
        });
        self.ends_in_order();
    }

    #[track_caller]
    fn goes_on_without_a_log(&mut self) {
        self.ask_until_lines_are_dropped("write_failed");
        self.ends_in_order();
    }
}

struct BusyAgent {
    agent: Agent,
    client: Credentials,
    _rest: (App, Volume, Pki),
}

impl Busy for BusyAgent {
    const DROPPED: &str = "hotcert_log_lines_dropped_total";

    fn process(&mut self) -> &mut Agent {
        &mut self.agent
    }

    fn ask(&self) {
        let got = Curl::https(self.agent.address("inbound"), "/bytes/100000", &self.client).run();
        assert_eq!(got.answer.status, 200, "{}", got.errors);
        assert_eq!(self.agent.admin("/readyz").status, 200);
    }
}

impl From<Scene<App>> for BusyAgent {
    fn from(scene: Scene<App>) -> Self {
        let Scene { agent, client, service, volume, pki, .. } = scene;
        Self { agent, client, _rest: (service, volume, pki) }
    }
}

fn busy_agent() -> BusyAgent {
    Scene::http_by(|launch| with_everything(launch).args(END)).into()
}

struct BusyController {
    controller: Agent,
    _directory: TempDir,
}

impl Busy for BusyController {
    const DROPPED: &str = "hotcert_controller_log_lines_dropped_total";

    fn process(&mut self) -> &mut Agent {
        &mut self.controller
    }

    fn ask(&self) {
        // Each is a few lines only.
        for _ in 0..100 {
            assert_eq!(self.controller.admin("/readyz").status, 200);
        }
    }
}

fn busy_controller() -> BusyController {
    let directory = TempDir::new().unwrap();
    let controller = with_everything(Launch::controller_on(directory.path(), 1)).ready();
    BusyController { controller, _directory: directory }
}

fn with_everything(launch: Launch) -> Launch {
    EVERYTHING.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value))
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn agent_serves_and_ends_in_order_while_nobody_reads_its_log() {
    busy_agent().goes_on_while_nobody_reads();
}

#[test]
fn controller_answers_and_ends_in_order_while_nobody_reads_its_log() {
    busy_controller().goes_on_while_nobody_reads();
}

#[test]
fn agent_serves_and_ends_in_order_when_its_log_is_closed() {
    let mut busy = busy_agent();
    busy.agent.log.close();
    busy.goes_on_without_a_log();
}

#[test]
fn controller_answers_and_ends_in_order_when_its_log_is_closed() {
    let mut busy = busy_controller();
    busy.controller.log.close();
    busy.goes_on_without_a_log();
}

#[test]
fn agent_serves_and_ends_in_order_when_the_disk_of_its_log_is_full() {
    let (pki, app) = (Pki::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let (admin, inbound) = (own::address(19_000), own::address(19_001));
    let launch = Launch::bare(0).args(["--identity".as_ref(), volume.path.as_os_str()]).args(END).args([
        format!("--admin={admin}"),
        "--proof=127.0.0.1:0".into(),
        format!("--inbound=http:{inbound}={}", app.address),
    ]);
    let known = [("admin", admin), ("inbound", inbound)];
    let agent = with_everything(launch).start_logging_to(full(), &known);
    agent.wait_ready();
    BusyAgent { client: pki.client("storefront"), agent, _rest: (app, volume, pki) }.goes_on_without_a_log();
}

#[test]
fn controller_answers_and_ends_in_order_when_the_disk_of_its_log_is_full() {
    let (directory, admin) = (TempDir::new().unwrap(), own::address(19_000));
    let launch = Launch::by_command_line(&["/usr/local/bin/hotcert", "controller"], 0)
        .args(["--dir".as_ref(), directory.path().as_os_str()])
        .args([format!("--admin={admin}")]);
    let controller = with_everything(launch).start_logging_to(full(), &[("admin", admin)]);
    controller.wait_ready();
    BusyController { controller, _directory: directory }.goes_on_without_a_log();
}

#[test]
fn second_signal_ends_an_agent_whose_log_nobody_reads() {
    let launch = |launch| with_everything(launch).args(["--shutdown-delay", "60s", "--shutdown-grace", "2m"]);
    let mut busy = BusyAgent::from(Scene::http_by(launch));
    busy.agent.log.hold();
    busy.ask_until_lines_are_dropped("queue_full");
    busy.agent.signal(Signal::TERM);
    busy.agent.wait_until("draining", |health| health["draining"] == true);
    busy.agent.signal(Signal::TERM);
    assert_eq!(busy.agent.wait_exit(Duration::from_secs(5)).code(), Some(1));
}

/// h2 warns of each answer to a PING that it has not sent.
#[test]
fn repeated_warnings_of_a_library_are_limited_and_counted() {
    const ANSWERS: u64 = 50;
    let mut scene = Scene::http(&END);
    let mut attack = python("frames.py");
    attack.arg(scene.inbound().to_string()).args(python_files(&scene.client));
    attack.args(["--name", "answers_to_pings_that_were_never_sent"]);
    let outcome = Pipe::program(attack).line()["outcome"].clone();
    assert_eq!(outcome, "survived");
    scene.agent.signal(Signal::TERM);
    assert_eq!(scene.agent.wait_exit(DEADLINE).code(), Some(0));
    let warned = || scene.agent.logged("recv PING ack that we never sent") as u64;
    let suppressed = || {
        let lines = scene.agent.log_lines("repeated messages of libraries were suppressed");
        lines.iter().map(|line| line["lines"].as_u64().unwrap()).sum::<u64>()
    };
    until("each is logged or counted", || (warned() + suppressed() == ANSWERS).then_some(()));
    assert!(warned() >= 1 && suppressed() > 0, "{} were logged", warned());
}

#[test]
fn warnings_of_a_library_that_is_asked_for_are_all_logged() {
    let scene = Scene::http_by(|launch| launch.env("HOTCERT_LOG", "h2=warn"));
    let mut attack = python("frames.py");
    attack.arg(scene.inbound().to_string()).args(python_files(&scene.client));
    attack.args(["--name", "answers_to_pings_that_were_never_sent"]);
    let _attack = Pipe::program(attack);
    until("all of them", || (scene.agent.logged("recv PING ack that we never sent") == 50).then_some(()));
}

/// What it says goes nowhere, from the start.
fn without_readers(mut command: Command) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    command.output().unwrap()
}

fn hotcert(args: &[&str]) -> Command {
    let mut command = Command::new(program("hotcert"));
    command.args(args);
    command
}

#[test]
fn refused_arguments_and_listeners_have_their_exit_codes_when_nobody_reads_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let directory = TempDir::new().unwrap();
    let (path, agent) = (directory.path().to_str().unwrap(), program("hotcert-agent"));
    let agent = |args: &[&str]| {
        let mut command = Command::new(&agent);
        command.arg("run").args(args);
        command
    };
    for (command, code) in [
        (agent(&["--identity", path, "--max-connections", "0"]), 2),
        (agent(&["--identity", path, "--admin", &admin]), 1),
        (hotcert(&["controller", "--dir", path, "--nudge", "nothing"]), 2),
        (hotcert(&["controller", "--dir", path, "--admin", &admin]), 1),
    ] {
        let what = format!("{command:?}");
        let output = without_readers(command);
        assert_eq!(output.status.code(), Some(code), "{what}");
    }
}

#[test]
fn commands_end_quietly_when_nobody_reads_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap();
    let issue = ["issue", "shop/mtls-local-payments", "--authority", "root-local-shop", "--create-authority"];
    let issued = hotcert(&[&issue[..], &["--dir", path]].concat()).output().unwrap();
    assert!(issued.status.success(), "{}", both(&issued));
    let secret = directory.path().join("secrets/shop/payments-tls");
    let mut check = Command::new(program("hotcert-agent"));
    check.arg("check").arg(secret);
    for command in [
        hotcert(&["status", "--dir", path]),
        hotcert(&["status", "--watch", "--dir", path]),
        hotcert(&["history", "shop/mtls-local-payments", "--dir", path]),
        hotcert(&["check", "--dir", path]),
        hotcert(&["rotate", "shop/mtls-local-payments", "--dir", path]),
        hotcert(&["delete", "shop/mtls-local-payments", "--dir", path]),
        hotcert(&["crds"]),
        check,
    ] {
        let what = format!("{command:?}");
        let output = without_readers(command);
        assert_eq!(output.status.code(), Some(0), "{what}");
    }
    let refused = without_readers(hotcert(&["rotate", "shop/mtls-local-nobody", "--dir", path]));
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let output = hotcert(&["crds"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains("cannot write to standard output: No space left on device"), "{output:?}");
}
