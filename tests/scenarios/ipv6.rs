//! On a machine with one family of addresses the agent needs no other, and no flag.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;

use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Curl, SERVER, both, get, python, python_files};
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, spiffe};
use kit::until;
use kit::volume::Volume;

/// Set in the process that has a network of its own.
const INSIDE: &str = "HOTCERT_TEST_INSIDE";

/// Runs this test once more in a network of its own, which the shell commands set up. Whether it is that run. Takes root.
fn in_own_network(test: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut again = Command::new("unshare");
    again.args(["--net", "sh", "-e", "-c", &format!("{setup}\nexec \"$@\""), "sh"]);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = again.output().unwrap();
    assert!(output.status.success() && both(&output).contains("1 passed"), "{}", both(&output));
    false
}

/// An agent with its listeners where they are by default.
fn agent(volume: &Volume, app: SocketAddr, listeners: usize, args: &[&str]) -> Agent {
    let launch = Launch::bare(listeners).args(["--log-format", "json", "--identity"]).args([&volume.path]);
    launch.args(["--inbound", &format!("http:[::]:8443={app}")]).args(args).ready()
}

#[test]
fn with_ipv6_alone_all_is_served_and_carried() {
    let setup = "ip link set lo up; ip -4 address delete 127.0.0.1/8 dev lo";
    if !in_own_network("ipv6::with_ipv6_alone_all_is_served_and_carried", setup) {
        return;
    }
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let app = App::at("[::1]:0".parse().unwrap());
    let mut server = python("server.py");
    server.args(["http", "--host", "::1"]).args(python_files(&pki.client(SERVER)));
    let mut server = Pipe::program(server);
    let route = format!("http:[::1]:9001=[::1]:{}#{}", server.line()["port"], dns(SERVER));
    let probe = format!("{}/status/200", app.address.port());
    // Ready says that the agent has reached its own listener.
    let agent = agent(&volume, app.address, 4, &["--outbound", &route, "--probe", &probe]);
    let client = pki.client("storefront");
    let curl = Curl::https("[::1]:8443".parse().unwrap(), "/headers", &client);
    let seen = curl.run().answer.json();
    assert!(seen.to_string().contains(&format!("URI={}", spiffe("storefront"))), "{seen}");
    let answer = Curl::new("http://[::1]:9001/somewhere").run().answer;
    assert_eq!(answer.json()["target"], "/somewhere");
    let admin = SocketAddr::from((Ipv6Addr::LOCALHOST, agent.address("admin").port()));
    assert_eq!(get(admin, &format!("/probe/{probe}")).unwrap().status, 200);
}

#[test]
fn without_ipv6_the_same_flags_serve_ipv4() {
    let setup = "ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    if !in_own_network("ipv6::without_ipv6_the_same_flags_serve_ipv4", setup) {
        return;
    }
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let app = App::default();
    // The kit asks the admin port at the address that is logged, and [::] is none without IPv6.
    let agent = agent(&volume, app.address, 3, &["--admin", "127.0.0.1:9640"]);
    let client = pki.client("storefront");
    let answer = Curl::https("127.0.0.1:8443".parse().unwrap(), "/headers", &client).run().answer;
    assert_eq!(answer.status, 200);
    // Addresses are written as IPv4, although they come over a listener of both.
    let other = Pki::default();
    Curl::https("127.0.0.1:8443".parse().unwrap(), "/headers", &other.client("stranger")).run();
    until("the refusal in the log", || {
        let refused = agent.log_lines("client refused");
        refused
            .first()
            .map(|line| assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}"))
    });
}
