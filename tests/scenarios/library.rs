//! The library in other people's programs: each example, under load, through rotations and a root rollover. The
//! examples are the programs that `tls/examples` shows.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kit::agent::program;
use kit::client::{Curl, SERVER};
use kit::flood::{Flood, OTHER_SOURCE, TlsClient, connect};
use kit::pipe::Pipe;
use kit::pki::{Pair, Pki, authority, issue, request};
use kit::until;
use kit::volume::Volume;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SWAPS: u64 = 20;
/// What a connection under a removed root may take to be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// An example that keeps an identity of its own, and prints its events.
struct Example {
    volume: Volume,
    process: Pipe,
    generation: u64,
}

impl Example {
    fn start(name: &str, volume: Volume, arguments: &[&str]) -> Self {
        let mut command = Command::new(program(&format!("examples/{name}")));
        command.arg(&volume.path).args(arguments);
        Self { volume, process: Pipe::program(command), generation: 1 }
    }

    /// Publishes an identity, and waits until it is current.
    #[track_caller]
    fn publish(&mut self, pair: &Pair, roots: &str) {
        self.volume.publish(pair, roots);
        self.generation += 1;
        let current = format!("published generation {}:", self.generation);
        self.process.hear(&current).unwrap_or_else(|| panic!("the program ended before {current}"));
    }
}

/// Waits until the client has made requests that it began after this call.
fn under_load(client: &mut Example) {
    for _ in 0..2 {
        client.process.hear("succeeded ").expect("the client goes on");
    }
}

/// Twenty rotations and a rollover on both sides. No request fails, the last connection under the old root is closed
/// within a second, and a bad candidate is refused and reported.
fn rotates_under_load(server: &str, client: &str, alpn: &[&str], url: impl Fn(&str) -> String) {
    let (pki, new) = (Pki::default(), authority("root two"));
    let (old_root, new_root) = (pki.roots().to_owned(), new.certificate_pem().to_owned());
    let volume = |name: &str| {
        let volume = pki.volume(name);
        volume.publish(&pki.leaf(name), &old_root);
        volume
    };
    let mut server = Example::start(server, volume(SERVER), &["127.0.0.1:0"]);
    server.process.hear("listening on ").unwrap();
    let address = server.process.hear("\n").unwrap().trim().to_owned();
    let mut stale = Pipe::tls(address.parse().unwrap(), &pki.client("stale"), alpn);
    if alpn.is_empty() {
        assert!(stale.get("/").unwrap().starts_with("HTTP/1.1 200"));
    }
    let mut client = Example::start(client, volume("caller"), &[&url(&address), &kit::pki::dns(SERVER)]);
    // Before it has read the first identity, a second one would be its first.
    under_load(&mut client);

    for _ in 0..SWAPS {
        server.publish(&pki.leaf(SERVER), &old_root);
        client.publish(&pki.leaf("caller"), &old_root);
        under_load(&mut client);
    }
    // A key of another leaf.
    let torn = Pair { key: pki.leaf(SERVER).key, ..pki.leaf(SERVER) };
    server.volume.publish(&torn, &old_root);
    let refused = server.process.hear("does not belong to the leaf").expect("the refusal is an event");
    assert!(refused.contains("refused leaf: "), "{refused}");

    let both = format!("{old_root}{new_root}");
    for example in [&mut server, &mut client] {
        let name = if example.volume.path.ends_with(SERVER) { SERVER } else { "caller" };
        example.publish(&pki.leaf(name), &both);
    }
    under_load(&mut client);
    client.publish(&issue(&new, &request("caller")), &both);
    server.publish(&issue(&new, &request(SERVER)), &both);
    under_load(&mut client);
    assert!(!stale.is_closed());
    server.publish(&issue(&new, &request(SERVER)), &new_root);
    stale.wait_closed(CLOSED_WITHIN);
    client.publish(&issue(&new, &request("caller")), &new_root);
    under_load(&mut client);

    client.process.end();
    let result = client.process.hear("failed 0\n").unwrap_or_else(|| client.process.rest());
    let succeeded =
        result.lines().find_map(|line| line.strip_prefix("succeeded ")?.strip_suffix(" failed 0"));
    let succeeded: u64 = succeeded.unwrap_or_else(|| panic!("{result}")).parse().unwrap();
    assert!(succeeded > 10 * SWAPS, "{succeeded} requests are no load");
}

/// Whoever embeds the library has to do nothing for it.
#[test]
fn axum_closes_the_connections_of_a_revoked_client_and_lets_it_in_no_more() {
    let pki = Pki::default();
    let stolen = pki.leaf("stolen");
    let thief = pki.credentials("stolen", &stolen, pki.roots());
    let volume = pki.volume(SERVER);
    let leaf = pki.leaf(SERVER);
    volume.publish(&leaf, pki.roots());
    let mut server = Example::start("axum_server", volume, &["127.0.0.1:0"]);
    server.process.hear("listening on ").unwrap();
    let address: SocketAddr = server.process.hear("\n").unwrap().trim().parse().unwrap();
    let mut open = [&thief, &pki.client("honest")].map(|who| Pipe::tls(address, who, &[]));
    assert!(open.iter_mut().all(|pipe| pipe.get("/").is_some()));
    let list = kit::revocation::list(&pki, 1, &[&stolen.serial], 1);
    let files =
        [("tls.crt", leaf.cert.as_str()), ("tls.key", &leaf.key), ("ca.crt", pki.roots()), ("ca.crl", &list)];
    server.volume.publish_files(&files);
    let [revoked, honest] = &mut open;
    revoked.wait_closed(CLOSED_WITHIN);
    assert!(honest.get("/").is_some());
    assert_ne!(Curl::https(address, "/", &thief).run().exit, 0);
}

fn https(address: &str) -> String {
    format!("https://{address}/")
}

#[test]
fn axum_and_hyper_rotate_under_load() {
    rotates_under_load("axum_server", "hyper_client", &[], https);
}

#[test]
fn axum_and_reqwest_rotate_under_load() {
    rotates_under_load("axum_server", "reqwest_client", &[], https);
}

#[test]
fn tonic_rotates_under_load() {
    rotates_under_load("tonic_server", "tonic_client", &["-alpn", "h2"], str::to_owned);
}

/// A server as the documentation has it, and nothing added. What strangers of another address send is bad handshakes, or
/// nothing at all on more connections than there are places.
#[test]
fn server_that_is_made_as_documented_serves_beside_a_flood_of_bad_handshakes() {
    let pki = Pki::default();
    let (volume, client) = (pki.volume(SERVER), pki.client("caller"));
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let said = pki.path("said");
    let mut command = Command::new(program("examples/axum_server"));
    command.arg(&volume.path).arg("127.0.0.1:0").stderr(File::create(&said).unwrap());
    let mut server = Pipe::program(command);
    server.hear("listening on ").unwrap();
    let address: SocketAddr = server.hear("\n").unwrap().trim().parse().unwrap();
    let serves = || {
        let begin = Instant::now();
        let got = Curl::https(address, "/", &client).run();
        assert_eq!((got.exit, got.answer.status), (0, 200), "{got:?}");
        begin.elapsed()
    };
    let has_said = |text: &str| std::fs::read_to_string(&said).unwrap().contains(text);
    serves();
    // All at once, so that a slow machine does not make them fewer a second than are forgiven.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let garbage = async || {
        let mut socket = connect(OTHER_SOURCE, address).await?;
        socket.write_all(b"\x16\x03\x01\x00\x05garba").await?;
        socket.read_to_end(&mut Vec::new()).await
    };
    until("the flood to be turned away", || {
        runtime.block_on(join_all((0..1500).map(|_| garbage())));
        has_said("too many handshakes of this source have failed").then_some(())
    });
    assert!(has_said("127.0.0.2:"));
    // Each makes the server sign, and has no certificate.
    let tls = TlsClient::new(&client.ca, &kit::pki::dns(SERVER));
    let bad = Flood::over_tls(64, OTHER_SOURCE, address, tls, Vec::new());
    let slowest = (0..20).map(|_| serves()).max();
    drop(bad);
    let silent = Flood::silent(600, OTHER_SOURCE, address);
    until("more connections than places", || (silent.begun() > 600).then_some(()));
    let slowest = slowest.max((0..20).map(|_| serves()).max());
    assert!(!has_said("127.0.0.1:"), "no handshake of the client failed");
    println!("the slowest of 40 requests took {slowest:?}");
    assert!(slowest < Some(Duration::from_secs(5)), "{slowest:?}");
}

/// What a service takes in with the library is TLS and no more.
#[test]
fn library_alone_depends_on_no_command_line_exporter_or_api_client() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--package", "hotcert-tls", "--no-default-features", "--edges", "normal"]);
    cargo.args(["--prefix", "none", "--offline"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"rustls"), "{tree}");
    for other in ["clap", "prometheus-client", "kube", "hyper", "http", "serde_json", "metrics"] {
        assert!(!names.contains(&other), "the library depends on {other}");
    }
}
