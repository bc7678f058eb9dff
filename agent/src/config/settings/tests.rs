//! What is wrong with a command line, in the words that a user reads.

#![allow(clippy::unwrap_used)]

use clap::Parser as _;

use super::*;
use crate::config::args::{Cli, Command, RunArgs};
use crate::config::ineffective;

const DESCRIPTORS: u64 = 1024;

fn settings(args: &[&str]) -> Result<Settings, Vec<String>> {
    Settings::from_args(&parsed(args), DESCRIPTORS)
}

fn parsed(args: &[&str]) -> RunArgs {
    let args = ["hotcert-agent", "run"].into_iter().chain(args.iter().copied());
    match Cli::try_parse_from(args).unwrap().command {
        Command::Run(args) => *args,
        Command::Check(_) => unreachable!(),
    }
}

#[test]
fn each_error_names_its_flag_and_what_to_write() {
    for (args, expected) in [
        (vec!["--admin=8443"], "--admin: \"8443\" is not ADDRESS:PORT; did you mean [::]:8443?"),
        (vec!["--proof=0.0.0.0:99999"], "--proof: port 99999 is above 65535"),
        (
            vec!["--inbound=https:0.0.0.0:1=127.0.0.1:2"],
            "--inbound: \"https:0.0.0.0:1=127.0.0.1:2\": unknown prefix https:; the prefixes are http:, h2c: and alpn=NAME:",
        ),
        (
            vec!["--inbound=0.0.0.0:1=127.0.0.1:2", "--admin=0.0.0.0:1"],
            "--admin: 0.0.0.0:1 is used by --inbound already; choose another port",
        ),
        (
            vec!["--http-proxy=0.0.0.0:1"],
            "--http-proxy: 0.0.0.0:1 is not a loopback address: other pods could use this pod's identity \
             through it; use 127.0.0.1 or [::1]",
        ),
        (
            vec!["--http-proxy=127.0.0.1:1", "--http-proxy-deny=10.0.0.0/33"],
            "--http-proxy-deny: \"10.0.0.0/33\" is not an address, a network such as 10.20.0.0/16, or a host such as \
             shop.svc, which stands for all names below it too",
        ),
        (vec!["--workers=0"], "--workers: \"0\" is not a number above 0"),
        (vec!["--idle-timeout=0s"], "--idle-timeout: it must be longer than 0s"),
        (
            vec!["--shutdown-delay=2s", "--shutdown-grace=1s"],
            "--shutdown-delay: it is longer than --shutdown-grace, after which the agent exits",
        ),
        (
            vec!["--client-auth=none", "--allow=dns:a"],
            "--allow: clients present no certificate with --client-auth none; remove one of the two",
        ),
        (
            vec!["--client-auth=none", "--inbound=0.0.0.0:1=127.0.0.1:2", "--allow=0.0.0.0:1=dns:a"],
            "--allow: clients present no certificate with --client-auth none; remove one of the two",
        ),
        (
            vec!["--inbound=0.0.0.0:1=127.0.0.1:2", "--allow=dns:a,0.0.0.0:3=dns:b"],
            "--allow: 0.0.0.0:3 is the address of no route of --inbound; its addresses are: 0.0.0.0:1",
        ),
        (
            vec!["--inbound=0.0.0.0:1=127.0.0.1:2", "--allow=0.0.0.0:1=dns:a,dns:b"],
            "--allow: every route of --inbound has a list of its own, so that dns:b would admit nobody anywhere; \
             write LISTEN=dns:b for the route that it is for",
        ),
        (
            vec!["--hsts=365d"],
            "--hsts: browsers are no clients of mutual TLS; add --client-auth none, or omit it",
        ),
        (
            vec!["--client-auth=none", "--hsts=365d", "--inbound=0.0.0.0:1=127.0.0.1:2"],
            "--hsts: no route has responses that it could be sent in; write http: or h2c: in --inbound, or omit it",
        ),
        (
            vec!["--client-auth=none", "--hsts=500ms", "--inbound=http:0.0.0.0:1=127.0.0.1:2"],
            "--hsts: it is sent in whole seconds; write 1s or more, or 0s to have browsers forget it",
        ),
        (
            vec!["--http-proxy-deny=10.0.0.0/8"],
            "--http-proxy-deny: it decides where --http-proxy connects, and there is none; add it, or omit this",
        ),
        (
            vec!["--http-proxy=127.0.0.1:1", "--http-proxy-allow=10.0.0.1/8"],
            "--http-proxy-allow: \"10.0.0.1/8\" is an address with the length of a prefix: write 10.0.0.0/8 for the \
             network, or 10.0.0.1 for this address alone",
        ),
        (
            vec!["--cert-file=a/b"],
            "--cert-file: give the name of a file in the identity directory, not a path",
        ),
    ] {
        let errors = settings(&[&["--identity=/tls"], args.as_slice()].concat()).err().unwrap();
        assert_eq!(errors, [expected]);
    }
    let errors = settings(&[]).err().unwrap();
    assert_eq!(errors, ["--identity: give a directory, or a Secret with --secret, or both"]);
}

#[test]
fn more_connections_than_there_are_descriptors_for_are_refused() {
    let with = |connections: &str| settings(&["--identity=/tls", "--max-connections", connections]);
    // As many as before admin and proof were counted.
    assert_eq!(with("398").unwrap().limits.max_connections, 398);
    assert_eq!(
        with("4000").err().unwrap(),
        [
            "--max-connections: 4000 connections need 9124 file descriptors, and this process may have 1024, enough \
          for 400; give 400 or less, or raise its hard limit (ulimit -Hn, LimitNOFILE of systemd) to 9124 or more"
        ]
    );
    assert_eq!(settings(&["--identity=/tls"]).unwrap().limits.max_connections, 322);
    assert_eq!(with("0").err().unwrap(), ["--max-connections: \"0\" is not a number above 0"]);
}

#[test]
fn flags_that_have_no_effect_are_warned_of() {
    let warned = |args: &[&str]| {
        let args = parsed(&[&["--identity=/tls"], args].concat());
        let warnings = ineffective::find(&args, &Settings::from_args(&args, DESCRIPTORS).unwrap());
        let flag = |warning: &String| warning.split_once(": it has no effect: ").unwrap().0.to_owned();
        warnings.iter().map(flag).collect::<Vec<_>>()
    };
    let all = [
        "--allow=dns:a",
        "--kubeconfig=/k",
        "--api-silence=1s",
        "--cert-file=a",
        "--key-file=a",
        "--request-timeout=1s",
        "--max-age-grace=1s",
        "--drain-after=1s",
        "--root-drain=1s",
        "--outbound-linger=1s",
    ];
    let flags = all.map(|flag| flag.split('=').next().unwrap());
    let given = |more: &[&'static str]| warned(&[&all, more].concat());
    assert_eq!(given(&["--bundle-file=b"]), flags);
    // Of bytes on one side: what concerns requests and the other side has no effect.
    assert_eq!(given(&["--bundle-file=b", "--inbound=0.0.0.0:1=127.0.0.1:2"]), flags[1..]);
    assert_eq!(given(&["--secret=a/b", "--inbound=http:0.0.0.0:1=127.0.0.1:2"]), ["--outbound-linger"]);
    assert_eq!(given(&["--secret=a/b", "--http-proxy=127.0.0.1:1"]), ["--allow"]);
    assert_eq!(given(&["--secret=a/b", "--outbound=127.0.0.1:1=a:2"]), [&flags[..1], &flags[5..9]].concat());
    assert!(warned(&["--memory-budget=", "--request-timeout=15s", "--cert-file=tls.crt"]).is_empty());
}

#[test]
fn a_probe_of_an_app_that_is_told_of_clients_is_told_apart() {
    let settings = settings(&[
        "--identity=/tls",
        "--inbound=0.0.0.0:1=127.0.0.1:8080#proxy-v2,0.0.0.0:2=127.0.0.1:8081,0.0.0.0:3=unix:/a#proxy-v2",
        "--probe=8080/healthz,8081/healthz,8082/healthz",
    ]);
    let told: Vec<bool> = settings.unwrap().probes.iter().map(|probe| probe.proxy_v2).collect();
    assert_eq!(told, [true, false, false]);
}

#[test]
fn port_0_may_be_given_twice() {
    let args = ["--identity=/tls", "--admin=127.0.0.1:0", "--proof=127.0.0.1:0"];
    assert!(settings(&args).is_ok());
}

#[test]
fn routes_that_lead_back_into_the_agent_are_refused() {
    let refused =
        |routes: &[&str]| settings(&[&["--identity=/tls"], routes].concat()).err().unwrap_or_default();
    for (routes, flag) in [
        (
            &["--inbound=http:0.0.0.0:8443=127.0.0.1:9001", "--outbound=http:127.0.0.1:9001=a:1"][..],
            "--outbound",
        ),
        (&["--inbound=http:0.0.0.0:8443=0.0.0.0:9001", "--outbound=127.0.0.1:9001=a:1"], "--outbound"),
        (&["--inbound=0.0.0.0:8443=127.0.0.1:8443"], "--inbound"),
        (&["--inbound=[::]:8443=127.0.0.1:8443"], "--inbound"),
        (&["--inbound=0.0.0.0:8443=[::ffff:127.0.0.1]:9000", "--http-proxy=127.0.0.1:9000"], "--http-proxy"),
        (&["--inbound=0.0.0.0:8443=127.0.0.1:9640"], "--admin"),
        (&["--inbound=h2c:0.0.0.0:8443=127.0.0.1:9643"], "--proof"),
        (&["--outbound=127.0.0.1:9001=127.0.0.1:9001#a"], "--outbound"),
        (&["--outbound=127.0.0.1:9001=localhost:9640#a"], "--admin"),
        (&["--outbound=http:[::1]:9001=localhost:9001"], "--outbound"),
    ] {
        let errors = refused(routes);
        let reason = format!("is this agent's own listener of {flag}, ");
        assert!(errors.len() == 1 && errors[0].contains(&reason), "{routes:?}: {errors:?}");
    }
    for routes in [
        &["--inbound=0.0.0.0:8443=127.0.0.1:8080", "--outbound=127.0.0.1:9001=127.0.0.1:9002#a"][..],
        // The app calls its own service over mTLS.
        &["--inbound=0.0.0.0:8443=127.0.0.1:8080", "--outbound=127.0.0.1:9001=127.0.0.1:8443#a"],
        &["--inbound=127.0.0.1:0=127.0.0.1:8080", "--outbound=127.0.0.1:0=127.0.0.1:8443#a"],
        &["--inbound=0.0.0.0:8443=203.0.113.7:9640"],
    ] {
        assert_eq!(refused(routes), Vec::<String>::new(), "{routes:?}");
    }
}
