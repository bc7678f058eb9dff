//! A controller in a network that is left through a forward proxy only: what it sends and fetches goes through the
//! proxy that the environment names, but for what NO_PROXY exempts, which is subject to the address policy again.

use std::path::Path;
use std::process::Command;

use kit::agent::{Agent, Launch, program};
use kit::connect_proxy::ConnectProxy;
use kit::machine::{AUTHORITY, Machine, certificate};
use kit::pki::write;
use kit::until;

use crate::managers::Manager;
use crate::notifications::{Hook, machine};

const HOOK: &str = "hooks.example";
const MANAGER: &str = "manager.example";

fn settings(machine: &Machine, hook: &Hook, manager: u16, allow: &str) -> std::path::PathBuf {
    let directory = machine.home.path().join("settings");
    let manager = format!("https://{MANAGER}:{manager}");
    let text = format!(
        "topics:\n- name: all\n  names: ['{}']\n  subscriptions:\n  \
         - {{ name: hook, url: 'https://{HOOK}:{}/hook', keys: [hook.key], ca: ca.crt{allow} }}\n\
         managers:\n\
         - {{ name: demo, kind: ibm-secrets-manager, url: '{manager}', iamUrl: '{manager}/identity/token', \
         apiKey: api.key, allow: {{ shop: [orders] }}, ca: ca.crt }}\n",
        certificate("payments"),
        hook.port,
    );
    let new = write(&directory.join("new.yaml"), text);
    let path = directory.join("settings.yaml");
    std::fs::rename(new, &path).unwrap();
    path
}

fn controller(machine: &Machine, settings: &Path, proxy: &ConnectProxy, exempt: Option<&Path>) -> Agent {
    let launch = Launch::controller_on(machine.home.path(), 1)
        .args(["--notifications", settings.to_str().unwrap()])
        .env("HTTPS_PROXY", proxy.url());
    match exempt {
        Some(hosts) => launch.env("NO_PROXY", HOOK).with_hosts(hosts).start(),
        None => launch.start(),
    }
}

#[test]
fn what_is_sent_and_fetched_goes_through_the_proxy_but_for_what_is_exempt() {
    let machine = machine();
    let outside = ["issue", "shop/mtls-local-outside", "--authority", AUTHORITY];
    machine.succeeds(&[&outside[..], &["--dns-name", HOOK, "--dns-name", MANAGER]].concat());
    let hook = Hook::start_as(&machine, "outside");
    let directory = machine.home.path().join("settings");
    std::fs::create_dir(&directory).unwrap();
    write(&directory.join("hook.key"), crate::notifications::SECRET);
    let key = write(&directory.join("api.key"), "an-api-key-of-some-length");
    std::fs::copy(machine.credentials("outside").ca, directory.join("ca.crt")).unwrap();
    let mut manager = Command::new(program("demo-manager"));
    manager.arg("--state").arg(machine.home.path().join("manager"));
    manager.arg("--identity").arg(machine.secret("outside")).arg("--api-key").arg(key);
    manager.args(["--listen", "127.0.0.1:0", "--make", "orders=orders.shop.svc"]);
    let manager = Manager::start(manager);
    let proxy = ConnectProxy::start();
    let path = settings(&machine, &hook, manager.port(), "");

    // Neither name resolves on this machine.
    let running = controller(&machine, &path, &proxy, None);
    until("the subscription is known", || {
        machine.json(&["status"]).to_string().contains("all/hook").then_some(())
    });
    machine.succeeds(&["rotate", &certificate("payments")]);
    until("the rotation is announced", || (hook.versions("rotated").len() == 1).then_some(()));
    machine.succeeds(&["issue", &certificate("orders"), "--manager", "demo/orders"]);
    let asked = proxy.asked();
    for target in [format!("{HOOK}:{}", hook.port), format!("{MANAGER}:{}", manager.port())] {
        assert!(asked.contains(&target), "{target} is not among {asked:?}");
    }
    drop(running);

    let through_proxy = || proxy.asked().iter().filter(|target| target.starts_with(HOOK)).count();
    let before = through_proxy();
    let hosts = write(&machine.home.path().join("hosts"), format!("127.0.0.1 localhost {HOOK}\n"));
    let running = controller(&machine, &path, &proxy, Some(&hosts));
    machine.succeeds(&["rotate", &certificate("payments")]);
    running.until_logged("which is not a public address");
    settings(&machine, &hook, manager.port(), ", allowNetworks: [127.0.0.1]");
    until("the second rotation is announced", || (hook.versions("rotated").len() == 2).then_some(()));
    assert_eq!(through_proxy(), before, "the hook is exempt");
}
