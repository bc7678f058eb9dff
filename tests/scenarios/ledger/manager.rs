//! A certificate that names a manager outside in place of its authority, where the manager fails.

use kit::client::{both, python, python_files};
use kit::machine::{AUTHORITY, Machine, certificate};
use kit::pipe::Pipe;
use kit::pki::write;
use kit::within;
use serde_json::{Value, json};

use crate::control_plane::TAKEOVER;

fn authority(machine: &Machine) -> Value {
    machine.json(&["status"])["authorities"][0]["status"].clone()
}

#[test]
fn manager_that_fails_holds_the_rollover_of_the_authority_before_it_until_a_person_lets_it_go_on() {
    let machine = Machine::with(&["payments", "storefront"]);
    let settings = "managers:\n- { name: gone, kind: https, get: 'https://localhost:1/{id}', \
                    allow: { shop: ['payments'] }, allowNetworks: [127.0.0.0/8, '::1'], \
                    pointers: { certificate: /certificate, key: /key, chain: /chain, roots: /roots } }\n";
    let settings = write(&machine.home.path().join("settings.yaml"), settings);
    let _controller = machine.controller(1, &["--notifications", settings.to_str().unwrap()]);
    let mut load = python("load.py");
    load.arg(machine.service("payments").agent.address("inbound").to_string());
    load.args(python_files(&machine.credentials("payments"))).args(["--server", "payments.shop.svc"]);
    let mut load = Pipe::program(load);
    assert_eq!(load.line()["running"], true);

    let name = certificate("payments");
    let file = machine.home.path().join("certificates/shop/mtls-local-payments.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let before = format!("authority: {AUTHORITY}");
    assert!(text.contains(&before), "{text}");
    let text = text.replace(&before, "manager: { name: gone, id: payments }");
    std::fs::rename(write(&file.with_extension("new"), text), &file).unwrap();
    within(TAKEOVER, "the manager's failure reported", || {
        let problems = both(&machine.run(&["check"]));
        (problems.contains(&name) && problems.contains("NotFetched")).then_some(())
    });

    let roots = machine.roots("payments");
    machine.succeeds(&["rollover", AUTHORITY, "--reason", "while a manager fails"]);
    within(TAKEOVER, "the rollover held by the certificate", || {
        let waiting = authority(&machine)["rollover"]["waitingFor"].clone();
        let waiting = waiting.as_array()?;
        (waiting.len() == 1 && waiting[0].as_str()?.starts_with(&format!("{name}: "))).then_some(())
    });
    assert_eq!(machine.roots("payments"), roots);
    load.end();
    let counts = load.line();
    assert_eq!(counts["failed"], 0, "{counts}");

    machine.succeeds(&["rollover", AUTHORITY, "--override", &name, "--reason", "it is fetched by hand"]);
    within(TAKEOVER, "the rollover to end", || (authority(&machine)["phase"] == "Steady").then_some(()));
    let overrides = authority(&machine)["rolloverHistory"][0]["overrides"].clone();
    assert_eq!(overrides, json!([format!("{name}: it is fetched by hand")]));
    assert_eq!(machine.roots("payments"), roots, "it serves on as it was");
    assert_ne!(machine.roots("storefront"), roots);
}
