//! Notifications between separate processes over HTTPS: what goes out is judged by Python and OpenSSL, what
//! comes in is signed by OpenSSL and sent by curl; and sender or receiver may be killed at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::agent::Agent;
use kit::client::{Curl, Fetched, both, command, python};
use kit::machine::{AUTHORITY, Machine};
use kit::pki::write;
use kit::{until, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NAME: &str = "shop/mtls-local-payments";
const SOURCE: &str = "urn:hotcert:local";

/// A subscriber: HTTPS in Python.
pub struct Hook {
    child: Child,
    pub port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
    answer: PathBuf,
}

impl Hook {
    fn start(machine: &Machine) -> Self {
        Self::start_as(machine, "receiver")
    }

    /// With the certificate of this service.
    pub fn start_as(machine: &Machine, name: &str) -> Self {
        let answer = machine.home.path().join("answer");
        write(&answer, "200");
        let identity = machine.credentials(name);
        let mut hook = python("hook.py");
        hook.arg("--cert").arg(&identity.cert).arg("--key").arg(&identity.key);
        hook.args(["--secret", SECRET, "--answer"]).arg(&answer);
        let mut child = hook.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                hears.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, heard, answer }
    }

    fn answers(&self, answer: &str) {
        // By a rename: half an answer is none.
        let new = write(&self.answer.with_extension("new"), answer);
        std::fs::rename(new, &self.answer).unwrap();
    }

    fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// Those of this kind, with the version that they are about.
    pub fn versions(&self, kind: &str) -> Vec<(u64, String)> {
        let kind = format!("dev.hotcert.{kind}");
        let heard = self.heard();
        let events = heard.iter().map(|line| &line["event"]).filter(|event| event["type"] == kind);
        events
            .map(|event| {
                (event["data"]["version"].as_u64().unwrap(), event["id"].as_str().unwrap().to_owned())
            })
            .collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // What watches over it passes that on.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A directory with a certificate for a service and one for the receiver of notifications, `localhost`.
pub fn machine() -> Machine {
    let machine = Machine::with(&["payments"]);
    let spec = machine.home.path().join("authorities").join(format!("{AUTHORITY}.yaml"));
    let text = std::fs::read_to_string(&spec).unwrap();
    write(&spec, text.replace("spec:\n", "spec:\n  anyName: true\n"));
    let receiver = ["issue", "shop/mtls-local-receiver", "--authority", AUTHORITY, "--dns-name", "localhost"];
    machine.succeeds(&receiver);
    machine
}

fn settings(machine: &Machine, text: &str) -> PathBuf {
    let directory = machine.home.path().join("notifications");
    std::fs::create_dir_all(&directory).unwrap();
    write(&directory.join("hook.key"), SECRET);
    let _ = std::fs::copy(machine.credentials("receiver").ca, directory.join("ca.crt"));
    let new = write(&directory.join("new.yaml"), text);
    let path = directory.join("notifications.yaml");
    std::fs::rename(new, &path).unwrap();
    path
}

/// To the hook, signed with both kinds of keys.
fn topic(hook: &Hook, allow: &str) -> String {
    format!(
        "source: {SOURCE}\ntopics:\n- name: all\n  names: ['{NAME}', '{AUTHORITY}']\n  subscriptions:\n  \
         - {{ name: hook, url: 'https://localhost:{}/hook', keys: [hook.key], ca: ca.crt{allow} }}\n",
        hook.port
    )
}

const ALLOW: &str = ", allowNetworks: [127.0.0.0/8, '::1']";

fn controller(machine: &Machine, settings: &Path) -> Agent {
    machine.controller(1, &["--notifications", settings.to_str().unwrap()])
}

#[test]
fn every_version_is_announced_in_order_whenever_the_controller_is_killed() {
    let machine = machine();
    let hook = Hook::start(&machine);
    let key = machine.home.path().join("ed25519.pem");
    let made =
        command("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).output().unwrap();
    assert!(made.status.success(), "{}", both(&made));
    let text = topic(&hook, ALLOW).replace("[hook.key]", "[hook.key, ../ed25519.pem]");
    let path = settings(&machine, &text);
    let mut running = controller(&machine, &path);
    until("the subscription is known", || {
        let status = machine.json(&["status"]).to_string();
        status.contains("all/hook").then_some(())
    });
    // Killed in the middle of whatever it does, a little later each time.
    for number in 2..=6_u64 {
        machine.succeeds(&["rotate", NAME]);
        let begin = Instant::now();
        let pause = Duration::from_millis(7 * number);
        until("the time to die", || (begin.elapsed() > pause).then_some(()));
        running.signal(Signal::KILL);
        drop(running);
        running = controller(&machine, &path);
    }
    until("all versions announced", || (hook.versions("rotated").last()?.0 == 6).then_some(()));
    let mut firsts = Vec::new();
    let mut ids = BTreeMap::<u64, BTreeSet<String>>::new();
    for (version, id) in hook.versions("rotated") {
        if ids.entry(version).or_default().is_empty() {
            firsts.push(version);
        }
        ids.get_mut(&version).unwrap().insert(id);
    }
    assert_eq!(firsts, [2, 3, 4, 5, 6], "in order, and none is lost");
    assert!(ids.values().all(|ids| ids.len() == 1), "twice under one id at most: {ids:?}");
    let heard = hook.heard();
    assert!(
        heard.iter().all(|line| line["signed"] == true && line["event"]["source"] == SOURCE),
        "{heard:#?}"
    );
    println!("{} announcements of 5 versions with 5 kills", heard.len());

    // OpenSSL about the other signature.
    let line = &heard[0];
    let home = machine.home.path();
    let part = |name: &str| line["headers"][name].as_str().unwrap().to_owned();
    let body = STANDARD.decode(line["body"].as_str().unwrap()).unwrap();
    let message =
        [part("webhook-id").as_bytes(), b".", part("webhook-timestamp").as_bytes(), b".", &body].concat();
    let signatures = part("webhook-signature");
    let signature =
        signatures.split(' ').find_map(|one| one.strip_prefix("v1a,")).expect("an Ed25519 signature");
    let message = write(&home.join("message"), message);
    let signature = write(&home.join("signature"), STANDARD.decode(signature).unwrap());
    let mut openssl = command("openssl");
    openssl.args(["pkeyutl", "-verify", "-rawin", "-inkey"]).arg(&key).arg("-in").arg(message);
    let judged = openssl.arg("-sigfile").arg(signature).output().unwrap();
    assert!(judged.status.success(), "{}", both(&judged));
}

#[test]
fn a_subscriber_that_fails_is_asked_again_and_one_that_is_gone_is_left_alone() {
    let machine = machine();
    let hook = Hook::start(&machine);
    hook.answers("503 1");
    let path = settings(&machine, &topic(&hook, ALLOW));
    let controller = controller(&machine, &path);
    until("the subscription is known", || {
        machine.json(&["status"]).to_string().contains("all/hook").then_some(())
    });
    machine.succeeds(&["rotate", NAME]);
    let tries = || hook.versions("rotated");
    until("it to try again", || (tries().len() >= 2).then_some(()));
    let labels = [("subscription", "all/hook"), ("outcome", "failed")];
    let sent = |labels: &[(&str, &str)]| {
        controller.metrics().sum("hotcert_controller_notifications_sent_total", labels)
    };
    until("its failures to be counted", || (sent(&labels) >= 2.0).then_some(()));
    assert_eq!(controller.metrics().one("hotcert_controller_notifications_waiting", &labels[..1]), 1.0);
    hook.answers("204");
    until("it delivered", || {
        let delivered = [labels[0], ("outcome", "delivered")];
        (sent(&delivered) == 1.0).then_some(())
    });
    assert_eq!(tries().into_iter().collect::<BTreeSet<_>>().len(), 1, "under one id");
    hook.answers("410");
    machine.succeeds(&["rotate", NAME]);
    until("it hears that nobody is there", || {
        (controller.logged("nothing more is sent to it") == 1).then_some(())
    });
    let count = tries().len();
    machine.succeeds(&["rotate", NAME]);
    // A change of the settings is a new beginning.
    hook.answers("200");
    settings(&machine, &topic(&hook, &format!("{ALLOW}, headers: {{ x-extra: hook.key }}")));
    within(Duration::from_secs(30), "all told", || (tries().last()?.0 == 4).then_some(()));
    assert!(tries()[count..].iter().map(|(version, _)| *version).eq([3, 4]), "{:?}", tries());
    assert_eq!(hook.heard().last().unwrap()["headers"]["x-extra"], SECRET);
}

#[test]
fn an_address_within_is_not_called_unless_it_was_allowed() {
    let machine = machine();
    let hook = Hook::start(&machine);
    let path = settings(&machine, &topic(&hook, ""));
    let controller = controller(&machine, &path);
    until("the subscription is known", || {
        machine.json(&["status"]).to_string().contains("all/hook").then_some(())
    });
    machine.succeeds(&["rotate", NAME]);
    controller.until_logged("which is not a public address");
    assert!(hook.heard().is_empty());
    settings(&machine, "topics: what");
    controller.until_logged("notification settings are invalid and stay as they were");
    settings(&machine, &topic(&hook, ALLOW));
    within(Duration::from_secs(30), "it delivered", || (hook.versions("rotated").len() == 1).then_some(()));
}

/// A controller that takes notifications, and who sends them.
struct Inbox {
    machine: Machine,
    settings: PathBuf,
    controller: Agent,
}

impl Inbox {
    fn start() -> Self {
        let machine = machine();
        let text = format!(
            "senders:\n- {{ name: standard, provider: standard, instance: '{SOURCE}', keys: [hook.key], \
             events: [expiring, revoked, failed], names: ['shop/*'] }}\n\
             - {{ name: secrets, provider: ibm-secrets-manager, instance: 'crn:1', header: {{ name: x-token, file: hook.key }}, \
             names: ['shop/*'] }}\n"
        );
        let settings = settings(&machine, &text);
        let controller = Self::listen(&machine, &settings);
        Self { machine, settings, controller }
    }

    fn listen(machine: &Machine, settings: &Path) -> Agent {
        let identity = machine.secret("receiver");
        machine.controller(
            2,
            &[
                "--notifications",
                settings.to_str().unwrap(),
                "--receiver-listen",
                "127.0.0.1:0",
                "--receiver-identity",
                identity.to_str().unwrap(),
            ],
        )
    }

    fn address(&self) -> SocketAddr {
        self.controller.address("receiver")
    }

    fn curl(&self, path: &str) -> Curl {
        let url = format!("https://localhost:{}{path}", self.address().port());
        Curl::new(&url).args(["--ipv4", "--cacert"]).args([self.machine.credentials("receiver").ca])
    }

    fn send(&self, sender: &str, headers: &[String], body: &[u8]) -> Fetched {
        let file = write(&self.machine.home.path().join("body"), body);
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let curl = self.curl(&format!("/notifications/{sender}")).args(headers);
        curl.args(["--data-binary".to_owned(), format!("@{}", file.display())]).run()
    }

    /// Signed by OpenSSL.
    fn standard(&self, event: &Value) -> Fetched {
        let body = event.to_string();
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let id = event["id"].as_str().unwrap();
        let headers = [
            format!("webhook-id: {id}"),
            format!("webhook-timestamp: {timestamp}"),
            format!("webhook-signature: v1,{}", hmac(&format!("{id}.{timestamp}.{body}"))),
        ];
        self.send("standard", &headers, body.as_bytes())
    }

    fn expiring(&self, id: &str) -> Value {
        let until = self.status()["notAfter"].clone();
        json!({
            "specversion": "1.0", "id": id, "source": SOURCE, "type": "dev.hotcert.expiring", "subject": NAME,
            "data": {"not_after": until},
        })
    }

    fn status(&self) -> Value {
        let fleet = self.machine.json(&["status"]);
        let certificates = fleet["certificates"].as_array().unwrap();
        certificates.iter().find(|one| one["name"] == NAME.trim_start_matches("shop/")).unwrap()["status"]
            .clone()
    }

    fn received(&self, sender: &str, outcome: &str) -> f64 {
        let labels = [("sender", sender), ("outcome", outcome)];
        self.controller.metrics().sum("hotcert_controller_notifications_received_total", &labels)
    }
}

fn hmac(message: &str) -> String {
    let key = kit::pki::hex(&STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap());
    let mut openssl = command("openssl");
    openssl.args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{key}"), "-binary"]);
    let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    STANDARD.encode(child.wait_with_output().unwrap().stdout)
}

#[test]
fn an_announcement_rotates_what_the_agent_serves_and_only_once() {
    let inbox = Inbox::start();
    let before = inbox.machine.shown("payments");
    let event = inbox.expiring("e1");
    let begin = Instant::now();
    let answer = inbox.standard(&event).answer;
    let answered = begin.elapsed();
    assert_eq!((answer.status, &answer.json()["requested"]), (200, &json!([NAME])), "{}", answer.text());
    // Killed as soon as it has answered: what was accepted is not lost.
    inbox.controller.signal(Signal::KILL);
    let controller = Inbox::listen(&inbox.machine, &inbox.settings);
    let inbox = Inbox { controller, ..inbox };
    let after = until("the agent serves another", || {
        let shown = inbox.machine.shown("payments");
        (shown != before).then_some(shown)
    });
    println!("announced, answered after {answered:?}, and served after {:?} with a kill", begin.elapsed());
    // A sender that missed the answer sends the event again: to this controller, and to one without its memory.
    assert_eq!(inbox.standard(&event).answer.status, 200);
    assert_eq!(inbox.standard(&event).answer.json()["outcome"], "replay");
    let begin = Instant::now();
    // What was made for an announcement a moment ago is not replaced for the next.
    assert_eq!(inbox.standard(&inbox.expiring("e2")).answer.json()["outcome"], "unchanged");
    let mut revoked = inbox.expiring("e3");
    revoked["type"] = "dev.hotcert.revoked".into();
    let answer = inbox.standard(&revoked).answer;
    assert_eq!(answer.json()["outcome"], "accepted", "{}", answer.text());
    until("another one served", || (inbox.machine.shown("payments") != after).then_some(()));
    println!("announced to served: {:?}", begin.elapsed());
    let history = inbox.machine.json(&["history", NAME]);
    assert_eq!(
        history["versions"].as_array().unwrap().len(),
        3,
        "the second time was no rotation: {history:#}"
    );
    // What failed at the sender is a warning, and changes nothing.
    let mut failed = inbox.expiring("e4");
    failed["type"] = "dev.hotcert.rotation_failed".into();
    let answer = inbox.standard(&failed).answer.json();
    assert_eq!(answer["outcome"], "warning", "{answer}");
    assert_eq!(inbox.received("standard", "warning"), 1.0);
    until("the warning is in the log", || {
        let log = inbox.controller.log_text();
        (log.contains("ProblemReported") && log.contains("reports dev.hotcert.rotation_failed")).then_some(())
    });
    let test = json!({"id": "t", "source": SOURCE, "type": "dev.hotcert.test"});
    assert_eq!(inbox.standard(&test).answer.json()["outcome"], "test");
}

#[test]
fn what_is_not_to_be_believed_changes_nothing() {
    let inbox = Inbox::start();
    let event = inbox.expiring("e1").to_string();
    let status = |headers: &[String], body: &[u8]| {
        let answer = inbox.send("standard", headers, body).answer;
        (answer.status, answer.json()["reason"].as_str().unwrap().to_owned())
    };
    let signed = |timestamp: u64, body: &str| {
        let signature = hmac(&format!("e1.{timestamp}.{body}"));
        vec![
            "webhook-id: e1".to_owned(),
            format!("webhook-timestamp: {timestamp}"),
            format!("webhook-signature: v1,{signature}"),
        ]
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(status(&[], event.as_bytes()), (401, "unsigned".into()));
    assert_eq!(status(&signed(now, "{}"), event.as_bytes()), (401, "signature".into()));
    assert_eq!(status(&signed(now - 400, &event), event.as_bytes()), (401, "stale".into()));
    let stranger = event.replace(NAME, "shop/mtls-local-other");
    assert_eq!(status(&signed(now, &stranger), stranger.as_bytes()), (200, "unknown_certificate".into()));
    let odd = event.replace("expiring", "sold");
    assert_eq!(status(&signed(now, &odd), odd.as_bytes()), (200, "unknown_event".into()));
    let elsewhere = event.replace(SOURCE, "urn:hotcert:evil");
    assert_eq!(status(&signed(now, &elsewhere), elsewhere.as_bytes()), (403, "instance".into()));
    assert_eq!(status(&signed(now, "{"), b"{"), (400, "malformed".into()));
    let large = vec![b' '; 300 << 10];
    assert_eq!(status(&[], &large), (413, "too_large".into()));
    let unknown = inbox.send("nobody", &[], event.as_bytes()).answer;
    assert_eq!((unknown.status, unknown.json()["reason"].as_str()), (404, Some("unknown_sender")));
    let token = inbox.send("secrets", &["x-token: wrong-but-as-long".into()], b"{}").answer;
    assert_eq!((token.status, token.json()["reason"].as_str()), (401, Some("credential")));
    assert_eq!(inbox.curl("/elsewhere").run().answer.status, 404);
    assert_eq!(inbox.curl("/notifications/standard").run().answer.status, 405);
    assert_eq!(inbox.curl("/notifications/keys").run().answer.json(), json!({"keys": []}));
    // A body that comes too slowly to be waited for.
    let mut slow = inbox.curl("/notifications/standard").args(["--limit-rate", "100"]);
    slow = slow
        .args(["--data-binary".to_owned(), format!("@{}", inbox.machine.home.path().join("slow").display())]);
    write(&inbox.machine.home.path().join("slow"), vec![b' '; 128 << 10]);
    let slow = slow.run();
    assert!(slow.answer.status == 408 || slow.exit != 0, "{slow:?}");
    for reason in [
        "unsigned",
        "signature",
        "stale",
        "unknown_certificate",
        "unknown_event",
        "instance",
        "malformed",
        "too_large",
        "late",
    ] {
        assert!(inbox.received("standard", reason) >= 1.0, "{reason} is counted");
        inbox.controller.until_logged(&format!("\"reason\":\"{reason}\""));
    }
    let history = inbox.machine.json(&["history", NAME]);
    assert_eq!(history["versions"].as_array().unwrap().len(), 1);
}
