//! A keyring that is put back from a backup and is older than what pods serve: nothing is issued, published or retired
//! under it until a person decides.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kit::client::both;
use kit::kube::SYSTEM;
use kit::machine::{self, Machine, certificate};
use kit::within;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use serde_json::Value;

use super::shop::Shop;
use crate::control_plane::{AUTHORITY, TAKEOVER};

type Parts = BTreeMap<String, Vec<u8>>;

impl Shop {
    /// Puts this keyring in place of the one that is there.
    fn put_back(&self, parts: &Parts) {
        let server = &self.cluster.server;
        let secrets = server.api::<Secret>(SYSTEM);
        let name = format!("hotcert-ca-{AUTHORITY}");
        let mut secret = server.run(secrets.get(&name)).unwrap();
        let parts = parts.iter().map(|(name, part)| (name.clone(), ByteString(part.clone())));
        secret.data = Some(parts.collect());
        server.run(secrets.replace(&name, &PostParams::default(), &secret)).unwrap();
    }

    /// Every Secret of the services and of their versions, with its resource version.
    fn issued(&self) -> BTreeMap<String, Option<String>> {
        let server = &self.cluster.server;
        let secrets = server.run(server.api::<Secret>("shop").list(&ListParams::default())).unwrap();
        secrets.into_iter().map(|secret| (secret.name_any(), secret.resource_version())).collect()
    }

    /// With the keyring from before a rollover. Returns the newer one.
    fn restored() -> (Self, Parts) {
        let mut shop = Self::open();
        let older = shop.cluster.keyring(AUTHORITY);
        shop.cluster.succeeds(&["rollover", AUTHORITY, "--watch"]);
        shop.wait_healthy();
        shop.stop_controller();
        let newer = shop.cluster.keyring(AUTHORITY);
        shop.put_back(&older);
        (shop, newer)
    }

    /// Asserts that nothing is issued or published, also on request.
    #[track_caller]
    fn is_suspended(&self) {
        let message = self.wait_unready(AUTHORITY, "KeyringOutdated");
        assert!(message.contains("shop/") && message.contains("--accept-keyring"), "{message}");
        self.wait_unready("mtls-demo-payments", "KeyringOutdated");
        let before = self.issued();
        let rotate = ["rotate", "shop/mtls-demo-payments", "--timeout", "5s"];
        assert!(!self.cluster.run(&rotate).status.success());
        let refused = self.cluster.run(&["rollover", AUTHORITY, "--timeout", "30s"]);
        assert!(!refused.status.success() && both(&refused).contains("older than"), "{}", both(&refused));
        assert_eq!(self.issued(), before);
        assert!(self.answers());
    }
}

#[test]
fn restored_keyring_that_is_older_than_what_pods_serve_stops_everything_until_the_newer_one_is_back() {
    let (mut shop, newer) = Shop::restored();
    let calls = shop.calls();
    let roots = shop.roots();
    shop.start_controller();
    shop.is_suspended();
    shop.put_back(&newer);
    shop.wait_healthy();
    // The leaf that was asked for meanwhile.
    within(TAKEOVER, "the next version served", || {
        let served = shop.cluster.json(&["history", "shop/mtls-demo-payments"]);
        (served["versions"].as_array()?.len() == 3).then_some(())
    });
    assert_eq!(shop.roots(), roots);
    assert_eq!(shop.cluster.authority()["phase"], "Steady", "what was refused does not begin later");
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--watch"]);
    let history = shop.cluster.authority()["rolloverHistory"].clone();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history:#}");
    calls.end();
}

#[test]
fn restored_keyring_is_used_when_a_person_accepts_it_with_a_reason() {
    let (mut shop, _) = Shop::restored();
    let calls = shop.calls();
    let roots = shop.roots();
    shop.start_controller();
    shop.is_suspended();
    // What trusts the newer root alone is cut off by it.
    calls.end();
    let accept = |text: &str| {
        let annotation = format!("hotcert.dev/accept-keyring={text}");
        let annotate = ["annotate", "hca", AUTHORITY, "--overwrite", &annotation];
        assert!(shop.cluster.server.kubectl(&annotate, "").status.success());
        let id = text.split(' ').next().unwrap().to_owned();
        within(TAKEOVER, "the request answered", || {
            let handled = shop.cluster.authority()["handledRequests"]["accept-keyring"].clone();
            (handled["id"] == id.as_str()).then_some(handled["outcome"].clone())
        })
    };
    let outcome = accept("1");
    assert!(outcome.as_str().unwrap().contains("give a reason"), "{outcome}");
    shop.wait_unready(AUTHORITY, "KeyringOutdated");
    accept("2 the newer one is lost");
    let root = within(TAKEOVER, "the older root", || {
        shop.cluster.authority()["root"]["sha256"].as_str().map(str::to_owned)
    });
    shop.wait_roots("the older root alone", |roots| roots == [root.clone()]);
    assert_ne!(shop.roots(), roots);
    shop.wait_healthy();
    within(TAKEOVER, "an answer", || shop.answers().then_some(()));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--"]).args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// The whole memory of hotcert is put back, with the versions.
#[test]
fn restored_state_of_a_directory_stops_everything_until_the_newer_one_is_back() {
    let machine = Machine::with(&["payments"]);
    let state = machine.home.path().join("state");
    let [older, newer] = ["older", "newer"].map(|name| machine.home.path().join(name));
    copy(&state, &older);
    machine.succeeds(&["rollover", machine::AUTHORITY, "--watch"]);
    let served = machine.shown("payments");
    std::fs::rename(&state, &newer).unwrap();
    std::fs::rename(&older, &state).unwrap();

    let fleet = || machine.json(&["status"]);
    let unready = |list: &str| {
        let object = fleet()[list][0]["status"]["conditions"].clone();
        let conditions = object.as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        ready.filter(|ready: &Value| ready["status"] == "False" && ready["reason"] == "KeyringOutdated")
    };
    // By a command without a controller, and then by one.
    let rotate = ["rotate", &certificate("payments"), "--timeout", "3s"];
    assert!(!machine.run(&rotate).status.success());
    assert_eq!(machine.shown("payments"), served);
    let controller = machine.controller(1, &[]);
    controller.wait_ready();
    let ready = within(TAKEOVER, "the authority not ready", || unready("authorities"));
    assert!(ready["message"].as_str().unwrap().contains("shop/payments"), "{ready:#}");
    within(TAKEOVER, "the certificate not ready", || unready("certificates"));
    assert!(!machine.run(&rotate).status.success());
    assert_eq!(machine.shown("payments"), served);

    drop(controller);
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&newer, &state).unwrap();
    let _controller = machine.controller(1, &[]);
    within(TAKEOVER, "no problem found", || machine.run(&["check"]).status.success().then_some(()));
    machine.succeeds(&["rollover", machine::AUTHORITY, "--watch"]);
    assert_ne!(machine.shown("payments"), served);
}
