//! The command line: `check` judges as `run` would, every flag has its environment name, and all that is
//! wrong is said at once.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use kit::agent::{Launch, program};
use kit::client::{SERVER, accepted, both};
use kit::echo::Echo;
use kit::forge::{Forge, from_now};
use kit::pki::{Pair, Pki};
use kit::scene::Scene;
use serde_json::Value;

fn agent(args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program("hotcert-agent")).args(args).output().unwrap()
}

fn check(directory: &Path, args: &[&str]) -> (i32, Value, String) {
    let directory = directory.to_str().unwrap();
    let json = agent(&[&["check", directory, "--json"], args].concat());
    let text = agent(&[&["check", directory], args].concat());
    assert_eq!(json.status, text.status);
    let report = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{}", both(&json)));
    (json.status.code().unwrap(), report, both(&text))
}

#[test]
fn check_says_what_would_be_served() {
    let pki = Pki::default();
    let (volume, leaf) = (pki.volume(SERVER), pki.leaf(SERVER));
    volume.publish(&leaf, pki.roots());
    let (code, report, text) = check(&volume.path, &[]);
    assert_eq!((code, &report["would_serve"]), (0, &Value::Bool(true)));
    assert_eq!(report["leaf"]["sha256"], leaf.sha256);
    assert_eq!(report["trust"]["roots"][0]["sha256"], pki.root.sha256());
    assert!(text.contains("payments.shop.svc"), "{text}");
    assert_eq!(check(&volume.path, &["--expect-name", "dns:payments.shop.svc"]).0, 0);
    assert_eq!(check(&volume.path, &["--expect-name", "dns:billing.shop.svc"]).0, 1);
}

#[test]
fn check_says_why_not() {
    let (pki, forge) = (Pki::default(), Forge::default());
    let good = forge.leaf(SERVER);
    let cases: [(&str, &str, Pair, &str); 7] = [
        ("leaf", "key_mismatch", Pair { key: forge.leaf(SERVER).key, ..good.clone() }, &forge.cert),
        ("leaf", "expired", forge.leaf_with(SERVER, |params| params.not_after = from_now(-1)), &forge.cert),
        (
            "leaf",
            "not_yet_valid",
            forge.leaf_with(SERVER, |params| params.not_before = from_now(600)),
            &forge.cert,
        ),
        ("leaf", "untrusted_by_own_bundle", good.clone(), pki.roots()),
        ("leaf", "malformed_pem", Pair { cert: good.cert[..300].into(), ..good.clone() }, &forge.cert),
        ("leaf", "unsupported_key", forge.weak_leaf(SERVER), &forge.cert),
        ("trust", "empty_bundle", good.clone(), ""),
    ];
    for (part, reason, pair, roots) in cases {
        let volume = pki.volume(reason);
        volume.publish(&pair, roots);
        let (code, report, text) = check(&volume.path, &[]);
        assert_eq!((code, &report["would_serve"]), (1, &Value::Bool(false)), "{reason}");
        assert_eq!(report[part]["reason"], reason, "{report:#}");
        assert!(text.contains(reason), "{text}");
    }
    let (code, report, text) = check(&pki.path("nowhere"), &[]);
    assert_eq!((code, &report["leaf"]["reason"]), (1, &Value::from("missing_file")));
    assert!(text.contains("does not exist"), "{text}");
}

#[test]
fn check_says_all_that_is_wrong_with_the_first_thing_to_do_first() {
    let (pki, forge) = (Pki::default(), Forge::default());
    let stale = forge.leaf_with(SERVER, |params| params.not_after = from_now(-1));
    let volume = pki.volume(SERVER);
    volume.publish_files(&[
        ("tls.crt", &stale.cert),
        ("tls.key", &pki.leaf(SERVER).key),
        ("ca.crt", "hello"),
    ]);
    let (code, report, text) = check(&volume.path, &["--expect-name", "dns:billing.shop.svc"]);
    let faults: Vec<_> =
        report["faults"].as_array().unwrap().iter().map(|fault| fault["reason"].as_str().unwrap()).collect();
    assert_eq!((code, faults), (1, vec!["malformed_pem", "key_mismatch", "expired", "name_missing"]));
    let lines: Vec<_> = text.lines().filter(|line| line.contains("refused (")).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("trust bundle ca.crt"), "{text}");
}

#[test]
fn check_prints_the_revocation_lists() {
    let pki = Pki::default();
    let (volume, leaf) = (pki.volume(SERVER), pki.leaf(SERVER));
    let list = kit::revocation::list(&pki, 7, &["aa", "bb"], 3);
    volume.publish_files(&[
        ("tls.crt", &leaf.cert),
        ("tls.key", &leaf.key),
        ("ca.crt", pki.roots()),
        ("ca.crl", &list),
    ]);
    let (code, report, text) = check(&volume.path, &[]);
    let lists = &report["trust"]["revocation_lists"];
    assert_eq!((code, &lists[0]["number"], &lists[0]["revoked"]), (0, &"7".into(), &2.into()), "{report:#}");
    let next = lists[0]["next_update"].as_str().unwrap();
    assert!(text.contains(&format!("CN=root one: number 7 revokes 2, the next is due {next}")), "{text}");
}

/// `check | head -1` on something that is refused, and on something that is served.
#[test]
fn check_ends_quietly_when_nobody_reads_on() {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    for (directory, code) in [(volume.path.clone(), 0), (pki.path("nowhere"), 1)] {
        let mut check = Command::new(program("hotcert-agent"));
        check.arg("check").arg(&directory).stdout(std::process::Stdio::piped());
        let mut check = check.stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(check.stdout.take());
        let output = check.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), both(&output).as_str()),
            (Some(code), ""),
            "{}",
            directory.display()
        );
    }
}

/// Flags of `run --help` and the text that belongs to each.
fn flags() -> BTreeMap<String, String> {
    let help = agent(&["run", "--help"]);
    assert!(help.status.success());
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in both(&help).lines() {
        let words = line.trim_start().trim_start_matches("-h, ");
        if words.starts_with("--") {
            let flag = words.split([' ', '=']).next().unwrap().to_owned();
            last = Some(flags.entry(flag).or_default());
        }
        if let Some(text) = &mut last {
            text.push_str(line.trim());
            text.push(' ');
        }
    }
    flags
}

#[test]
fn every_flag_has_its_environment_name() {
    let flags = flags();
    assert!(flags.len() > 20, "{flags:?}");
    for (flag, text) in flags.iter().filter(|(flag, _)| *flag != "--help" && *flag != "--version") {
        let name = format!("[env: HOTCERT_{}=", flag[2..].to_ascii_uppercase().replace('-', "_"));
        assert!(text.contains(&name), "{flag}: {name} is not in {text}");
    }
}

#[test]
fn the_environment_is_enough() {
    let pki = Pki::default();
    let (volume, one, two) = (pki.volume(SERVER), Echo::default(), Echo::default());
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let inbound = format!("127.0.0.1:0={},127.0.0.1:0={}", one.address, two.address);
    let agent = Launch::bare(4)
        .env("HOTCERT_IDENTITY", &volume.path)
        .env("HOTCERT_INBOUND", inbound)
        .env("HOTCERT_ALLOW", "dns:storefront.shop.svc,dns:audit.shop.svc")
        .env("HOTCERT_ADMIN", "127.0.0.1:0")
        .env("HOTCERT_PROOF", "127.0.0.1:0")
        .env("HOTCERT_LOG_FORMAT", "json")
        .ready();
    let listeners = agent.addresses("inbound");
    assert_eq!(listeners.len(), 2);
    for (name, allowed) in [("storefront", true), ("audit", true), ("billing", false)] {
        let client = pki.client(name);
        assert!(listeners.iter().all(|address| accepted(*address, &client) == allowed), "{name}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let wrong = [
        ("--inbound", "nonsense"),
        ("--outbound", "127.0.0.1:0=nowhere"),
        ("--allow", "shop"),
        ("--admin", "port"),
        ("--poll-interval", "soon"),
        ("--handshake-timeout", "-1"),
        ("--max-connections", "many"),
        ("--workers", "0"),
    ];
    let wrong_args: Vec<_> = wrong.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
    let mut args = vec!["run", "--identity", "/nowhere"];
    args.extend(wrong_args.iter().map(String::as_str));
    let output = agent(&args);
    assert_eq!(output.status.code(), Some(2));
    let said = both(&output);
    for (flag, value) in wrong {
        let line = said.lines().find(|line| line.contains(flag));
        assert!(line.is_some_and(|line| line.contains(value)), "{flag} {value}: {said}");
    }
}

#[test]
fn more_connections_than_there_are_descriptors_for_are_refused() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 1024 && exec timeout 20 \"$@\"", "sh"]).arg(program("hotcert-agent"));
    let args = ["run", "--identity=/nowhere", "--inbound=127.0.0.1:0=127.0.0.1:1", "--max-connections=4000"];
    let output = limited.args(args).output().unwrap();
    let said = both(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in ["--max-connections: 4000 ", "may have 1024", "give 400 or less", "ulimit -Hn"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let route = "--inbound=127.0.0.1:9=127.0.0.1:1";
    for (args, named) in [
        (&[route, route][..], "127.0.0.1:9"),
        (&[route, "--outbound=127.0.0.1:9=localhost:1"], "127.0.0.1:9"),
        (&[route, "--allow="], "--allow"),
        (&[route, "--idle-timeout=0s"], "--idle-timeout"),
        (&[route, "--shutdown-delay=9s", "--shutdown-grace=8s"], "--shutdown-delay"),
    ] {
        let output = agent(&[&["run", "--identity", "/nowhere"], args].concat());
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(named), "{args:?}: {said}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let pki = Pki::default();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let route = format!("{address}=127.0.0.1:1");
    let identity = pki.path("identity");
    let args = ["run", "--identity", identity.to_str().unwrap(), "--inbound", &route];
    let output = agent(&[&args[..], &["--admin", "127.0.0.1:0", "--proof", "127.0.0.1:0"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains(&address), "{}", both(&output));
}

#[test]
fn check_agrees_with_run() {
    let scene = Scene::tcp(&[]);
    let (code, report, _) = check(&scene.volume.path, &[]);
    let health = scene.health();
    assert_eq!(code, 0);
    for fact in ["serial", "sha256", "subject", "issuer", "names", "not_before", "not_after", "roles"] {
        assert_eq!(report["leaf"][fact], health["served"][fact], "{fact}");
    }
}
