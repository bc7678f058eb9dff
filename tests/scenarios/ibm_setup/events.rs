//! From the setup to the pod: what setup prints is what the controller runs with, an event goes through the topic, the
//! subscription and the destination that setup made, and the new version is served.

use kit::agent::Launch;
use kit::app::App;
use kit::machine::{Machine, Service, certificate};
use kit::{own, until};
use serde_json::Value;

use super::account::Account;
use crate::notifications::machine;

#[test]
fn a_certificate_that_is_replaced_at_ibm_is_served() {
    let account = Account::new();
    let first = account.pki.leaf("orders");
    account.write("tls.crt", &first.cert);
    account.write("tls.key", &first.key);
    // Its roots, which Secrets Manager does not keep.
    account.write("ibm-root.pem", account.pki.roots());
    let path = |name: &str| account.path(name).to_str().unwrap().to_owned();
    let (certificate_file, key) = (path("tls.crt"), path("tls.key"));
    let receiver = format!("https://localhost:{}", own::port(0));
    let more = ["--certificate", certificate_file.as_str(), "--private-key", key.as_str()];
    account.succeeds(&account.with_receiver(&receiver, &more));

    let mut machine = machine();
    // The emulator trusts what its file names.
    let (listen, identity) = (format!("127.0.0.1:{}", own::port(0)), receiver_identity(&account, &machine));
    let settings = path("notifications.yaml");
    let args = ["--notifications", &settings, "--receiver-listen", &listen, "--receiver-identity", &identity];
    let controller = machine.controller(2, &args);
    let rejected = controller.metrics().one("hotcert_controller_notifications_config_rejected", &[]);
    assert_eq!(rejected, 0.0, "{}", controller.log_text());

    machine.succeeds(&["issue", &certificate("orders"), "--manager", "hotcert/hotcert-certificate"]);
    let app = App::default();
    let agent = Launch::new(&machine.secret("orders")).inbound("", app.address).ready();
    machine.register("orders", agent.address("proof"), Some(agent.address("admin")));
    machine.services.push(Service { name: "orders", agent, app });
    let served = |machine: &Machine| machine.service("orders").agent.health()["served"]["sha256"].clone();
    assert_eq!(served(&machine), Value::from(first.sha256));

    let second = account.pki.leaf("orders");
    let version = serde_json::json!({"data": {"certificate": second.cert, "key": second.key}});
    account.post("/plain/hotcert-certificate", &version);
    until("the new version is served", || (served(&machine) == second.sha256.as_str()).then_some(()));
}

/// A directory with a certificate for `localhost` under the root that the account trusts.
fn receiver_identity(account: &Account, machine: &Machine) -> String {
    let directory = machine.home.path().join("ibm-receiver");
    std::fs::create_dir(&directory).unwrap();
    let pair = account.pki.leaf("receiver");
    kit::pki::write(&directory.join("tls.crt"), pair.cert);
    kit::pki::write(&directory.join("tls.key"), pair.key);
    kit::pki::write(&directory.join("ca.crt"), account.pki.roots());
    directory.to_str().unwrap().to_owned()
}
