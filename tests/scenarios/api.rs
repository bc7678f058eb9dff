//! The Secret is followed through the Kubernetes API of a real API server. While that works it is
//! believed; whatever becomes of it, the agent goes on serving, says which source it believes and why,
//! and comes back by itself. What the API has replaced does not return from a volume that lags.

use std::path::{Path, PathBuf};
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use kit::agent::{Agent, Launch};
use kit::client::{SERVER, accepted, served};
use kit::echo::Echo;
use kit::hanging::Hanging;
use kit::kube::{Account, ApiServer};
use kit::line::Line;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, Pki, write};
use kit::until;
use kit::volume::Volume;
use rustix::process::Signal;
use serde_json::Value;

const NAMESPACE: &str = "shop";
const SECRET: &str = "payments-tls";

struct Cluster {
    server: ApiServer,
    account: Account,
    pki: Pki,
    client: Credentials,
    echo: Echo,
}

impl Cluster {
    /// With an account that may follow the Secret.
    fn start() -> Self {
        let cluster = Self::without_rights();
        cluster.grant();
        cluster
    }

    fn without_rights() -> Self {
        let (server, pki) = (ApiServer::start(), Pki::default());
        server.namespace(NAMESPACE);
        let account = server.service_account(NAMESPACE, "payments");
        Self { server, account, client: pki.client("storefront"), pki, echo: Echo::default() }
    }

    fn grant(&self) {
        self.server.grant(&self.account, SECRET);
    }

    fn leaf(&self) -> Pair {
        self.pki.leaf(SERVER)
    }

    /// Writes the Secret.
    fn publish(&self, pair: &Pair, revision: Option<u64>) {
        self.server.publish(NAMESPACE, SECRET, pair, self.pki.roots(), revision);
    }

    fn volume(&self, pair: &Pair) -> Volume {
        let volume = self.pki.volume(SERVER);
        volume.publish(pair, self.pki.roots());
        volume
    }

    fn launch(&self, launch: Launch, kubeconfig: &Path) -> Agent {
        let secret = format!("{NAMESPACE}/{SECRET}");
        let kubeconfig = kubeconfig.to_str().unwrap();
        launch.args(["--secret", &secret, "--kubeconfig", kubeconfig]).inbound("", self.echo.address).start()
    }

    /// An agent with the API as its only source.
    fn agent(&self) -> Agent {
        self.launch(Launch::without_volume(), &self.account.kubeconfig)
    }

    fn agent_with(&self, volume: &Volume) -> Agent {
        self.launch(Launch::new(&volume.path), &self.account.kubeconfig)
    }

    /// Ends every watch, which goes on with the rights and the token that it began with.
    fn restart(&mut self) {
        self.server.kill();
        self.server.start_again();
    }

    /// The agent says it serves this leaf, and does.
    #[track_caller]
    fn serves(&self, agent: &Agent, leaf: &Pair) {
        agent.wait_serving(&leaf.serial);
        assert_eq!(served(agent.address("inbound"), &self.client).as_ref(), Some(&leaf.serial));
    }
}

/// Waits until this source is believed, for this reason.
#[track_caller]
fn believes(agent: &Agent, kind: &str, why: &str) -> Value {
    agent.wait_until(&format!("{kind} believed: {why}"), |health| {
        health["source"]["kind"] == kind && health["source"]["why"].as_str().unwrap_or_default().contains(why)
    })
}

#[track_caller]
fn lost(agent: &Agent, reason: &str) -> Value {
    let health = agent.wait_until(reason, |health| health["source"]["api"]["reason"] == reason);
    assert_eq!(health["source"]["api"]["state"], "lost");
    assert_ne!(health["source"]["api"]["detail"].as_str().unwrap_or_default(), "");
    health
}

#[test]
fn a_rotated_secret_is_served_in_a_moment_and_a_rollback_is_taken() {
    let cluster = Cluster::start();
    let (first, second) = (cluster.leaf(), cluster.leaf());
    let agent = cluster.agent();
    let unready = agent.admin("/readyz");
    assert_eq!(unready.status, 503, "there is no Secret yet");
    assert!(
        believes(&agent, "api", "the Secret does not exist")["reason"]
            .as_str()
            .unwrap()
            .contains("the Secret does not exist")
    );

    cluster.publish(&first, Some(1));
    agent.wait_ready();
    cluster.serves(&agent, &first);
    let health = believes(&agent, "api", "watched");
    assert_eq!(health["source"]["api"]["state"], "watching");
    assert_eq!(health["source"]["api"]["revision"], 1);
    assert_eq!(health["source"]["directory"], Value::Null);

    let mut taken = Vec::new();
    for revision in 2..12 {
        let leaf = cluster.leaf();
        let published = Instant::now();
        cluster.publish(&leaf, Some(revision));
        let health = agent.wait_serving(&leaf.serial);
        taken.push(published.elapsed());
        assert_eq!(health["served"]["delivered_by"], "api");
        assert!(health["served"]["written_to_published_seconds"].as_i64().unwrap() <= 2, "{health:#}");
    }
    taken.sort();
    eprintln!(
        "published to served: median {:?}, longest {:?}",
        taken[taken.len() / 2],
        taken[taken.len() - 1]
    );

    cluster.publish(&second, Some(12));
    cluster.serves(&agent, &second);
    cluster.publish(&first, Some(1));
    cluster.serves(&agent, &first);
    assert_eq!(agent.metrics().one("hotcert_api_watch", &[]), 1.0);
}

#[test]
fn a_lagging_volume_never_brings_back_what_the_api_replaced() {
    let mut cluster = Cluster::start();
    let [old, current, next] = [cluster.leaf(), cluster.leaf(), cluster.leaf()];
    let volume = cluster.volume(&old);
    cluster.publish(&old, None);
    let agent = cluster.agent_with(&volume);
    believes(&agent, "api", "watched");
    cluster.publish(&current, None);
    cluster.serves(&agent, &current);

    cluster.server.kill();
    believes(&agent, "volume", "behind the last version from the API");
    cluster.serves(&agent, &current);
    // kubelet writes the same once more, late.
    volume.publish(&old, &format!("{}\n", cluster.pki.roots()));
    volume.publish(&old, cluster.pki.roots());
    agent.wait_looks(2);
    cluster.serves(&agent, &current);
    assert!(lost(&agent, "unreachable")["ready"] == true);

    // Caught up, and then ahead.
    volume.publish(&current, cluster.pki.roots());
    agent.wait_until("caught up", |health| !health["source"]["why"].as_str().unwrap().contains("behind"));
    volume.publish(&next, cluster.pki.roots());
    cluster.serves(&agent, &next);
    assert_eq!(agent.health()["served"]["delivered_by"], "volume");
    // From then on what the volume shows is newer, a rollback included.
    volume.publish(&old, cluster.pki.roots());
    cluster.serves(&agent, &old);

    cluster.server.start_again();
    believes(&agent, "api", "watched");
    cluster.serves(&agent, &current);
}

#[test]
fn revisions_say_which_of_two_is_newer() {
    let mut cluster = Cluster::start();
    let [old, current, next] = [cluster.leaf(), cluster.leaf(), cluster.leaf()];
    let volume = cluster.pki.volume(SERVER);
    let mount = |pair: &Pair, revision: &str| {
        let files = [("tls.crt", pair.cert.as_str()), ("tls.key", &pair.key)];
        volume.publish_files(
            &[&files[..], &[("ca.crt", cluster.pki.roots()), ("revision", revision)]].concat(),
        );
    };
    mount(&old, "7");
    cluster.publish(&current, Some(8));
    let agent = cluster.agent_with(&volume);
    cluster.serves(&agent, &current);
    cluster.server.kill();
    believes(&agent, "volume", "behind");
    // Never seen through the API and swapped in later, but older by its number.
    mount(&cluster.leaf(), "6");
    agent.wait_looks(2);
    cluster.serves(&agent, &current);
    mount(&next, "9");
    cluster.serves(&agent, &next);
}

#[test]
fn an_api_server_that_is_not_there_at_start_is_waited_for_on_the_volume() {
    let mut cluster = Cluster::start();
    let [mounted, written] = [cluster.leaf(), cluster.leaf()];
    cluster.publish(&written, None);
    cluster.server.kill();
    let agent = cluster.agent_with(&cluster.volume(&mounted));
    agent.wait_ready();
    cluster.serves(&agent, &mounted);
    assert_eq!(lost(&agent, "unreachable")["source"]["kind"], "volume");
    cluster.server.start_again();
    cluster.serves(&agent, &written);
    believes(&agent, "api", "watched");
}

#[test]
fn without_rights_it_is_a_files_only_agent_and_says_so_once() {
    let mut cluster = Cluster::without_rights();
    let [mounted, rotated, written] = [cluster.leaf(), cluster.leaf(), cluster.leaf()];
    let volume = cluster.volume(&mounted);
    cluster.publish(&written, None);
    let agent = cluster.agent_with(&volume);
    agent.wait_ready();
    lost(&agent, "forbidden");
    volume.publish(&rotated, cluster.pki.roots());
    cluster.serves(&agent, &rotated);
    until("asked again", || (failures(&agent, "forbidden") >= 3.0).then_some(()));
    let said = "the Secret cannot be watched through the Kubernetes API; retrying";
    agent.until_logged(said);
    assert_eq!(agent.logged(said), 1, "{}", agent.log_text());

    // Rights that come later count, and rights that go are gone with the watch.
    cluster.grant();
    cluster.serves(&agent, &written);
    believes(&agent, "api", "watched");
    cluster.server.revoke(&cluster.account, SECRET);
    cluster.restart();
    let health = lost(&agent, "forbidden");
    assert_eq!(health["ready"], true);
    assert!(
        health["source"]["api"]["detail"].as_str().unwrap().contains("hotcert inject --rbac"),
        "{health:#}"
    );
    cluster.serves(&agent, &written);
    volume.publish(&mounted, &format!("{}\n", cluster.pki.roots()));
    cluster.serves(&agent, &mounted);
}

#[test]
fn a_deleted_secret_is_served_on_and_a_new_one_is_taken() {
    let cluster = Cluster::start();
    let [first, second] = [cluster.leaf(), cluster.leaf()];
    let volume = cluster.volume(&first);
    cluster.publish(&first, None);
    let agent = cluster.agent_with(&volume);
    believes(&agent, "api", "watched");
    cluster.server.delete::<Secret>(NAMESPACE, SECRET);
    let health = believes(&agent, "volume", "the Secret does not exist");
    assert_eq!((&health["source"]["api"]["state"], &health["ready"]), (&"absent".into(), &true.into()));
    cluster.serves(&agent, &first);
    cluster.publish(&second, None);
    cluster.serves(&agent, &second);
    believes(&agent, "api", "watched");
}

#[test]
fn a_rotated_token_is_taken_up() {
    let mut cluster = Cluster::start();
    let [first, second] = [cluster.leaf(), cluster.leaf()];
    cluster.publish(&first, None);
    let Account { namespace, name, .. } = &cluster.account;
    let bound = cluster.server.publish(NAMESPACE, "bound", &first, cluster.pki.roots(), None);
    cluster.account.write_token(&cluster.server.token(namespace, name, Some(&bound)));
    let agent = cluster.agent();
    agent.wait_ready();
    cluster.server.delete::<Secret>(NAMESPACE, "bound");
    cluster.restart();
    lost(&agent, "unauthorized");
    cluster.serves(&agent, &first);
    cluster.publish(&second, None);
    let Account { namespace, name, .. } = &cluster.account;
    cluster.account.write_token(&cluster.server.token(namespace, name, None));
    cluster.serves(&agent, &second);
    believes(&agent, "api", "watched");
}

#[test]
fn history_that_is_gone_is_listed_anew() {
    let mut cluster = Cluster::start();
    let [first, second] = [cluster.leaf(), cluster.leaf()];
    cluster.publish(&first, None);
    let line = Line::to(cluster.server.address);
    // Longer than the server may take to start again.
    let launch = Launch::without_volume().args(["--api-silence", "60s"]);
    let agent = cluster.launch(launch, &through(&cluster, &line));
    believes(&agent, "api", "watched");
    // While the line is silent the server forgets what the watch would go on from.
    line.hold();
    cluster.publish(&second, None);
    cluster.server.kill();
    cluster.server.compact();
    cluster.server.start_again();
    assert_eq!(believes(&agent, "api", "watched")["source"]["api"]["state"], "watching");
    line.cut();
    cluster.serves(&agent, &second);
    assert!(failures(&agent, "expired") >= 1.0, "the API server answered 410");
    believes(&agent, "api", "watched");
}

/// The account's kubeconfig, with the line's address for the server's.
fn through(cluster: &Cluster, line: &Line) -> PathBuf {
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(&cluster.account.kubeconfig).unwrap()).unwrap();
    let server = &mut config["clusters"][0]["cluster"];
    server["server"] = format!("https://{}", line.address).into();
    server["tls-server-name"] = "kubernetes".into();
    write(&cluster.pki.path("line.kubeconfig"), config.to_string())
}

#[test]
fn no_key_and_no_token_is_logged_even_at_the_highest_level() {
    let cluster = Cluster::start();
    let (first, second) = (cluster.leaf(), cluster.leaf());
    cluster.publish(&first, None);
    let launch =
        Launch::without_volume().env("HOTCERT_LOG", "trace,hyper=trace,rustls=trace,kube_client=trace");
    let agent = cluster.launch(launch, &cluster.account.kubeconfig);
    agent.wait_ready();
    cluster.publish(&second, None);
    cluster.serves(&agent, &second);
    let token = std::fs::read_to_string(&cluster.account.token_file).unwrap();
    agent.until_logged("TRACE");
    let log = agent.log_text();
    for leaf in [&first, &second] {
        let nested = base64(&leaf.key);
        for text in [leaf.key.lines().nth(1).unwrap(), &nested[48..96]] {
            assert!(!log.contains(text), "a key is in the log");
        }
    }
    assert!(!log.contains(token.trim()), "the token is in the log");
}

/// As it stands in a Secret.
fn base64(text: &str) -> String {
    let script = "import base64,sys; print(base64.b64encode(sys.argv[1].encode()).decode())";
    let output = std::process::Command::new("python3").args(["-c", script, text]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_line_that_went_silent_is_noticed_and_the_volume_believed() {
    let cluster = Cluster::start();
    let [first, second] = [cluster.leaf(), cluster.leaf()];
    cluster.publish(&first, None);
    let (volume, line) = (cluster.volume(&first), Line::to(cluster.server.address));
    let launch = Launch::new(&volume.path).args(["--api-silence", "3s"]);
    let agent = cluster.launch(launch, &through(&cluster, &line));
    believes(&agent, "api", "watched");
    line.hold();
    volume.publish(&second, cluster.pki.roots());
    believes(&agent, "volume", "silent");
    cluster.serves(&agent, &second);
    cluster.publish(&second, None);
    line.cut();
    believes(&agent, "api", "watched");
}

#[test]
fn rights_that_do_not_suffice_to_watch_are_not_asked_for_in_a_hurry() {
    let cluster = Cluster::without_rights();
    let [mounted, written] = [cluster.leaf(), cluster.leaf()];
    cluster.publish(&written, None);
    cluster.server.grant_verbs(&cluster.account, SECRET, &["get", "list"]);
    let agent = cluster.agent_with(&cluster.volume(&mounted));
    agent.wait_ready();
    lost(&agent, "forbidden");
    // What could be read counts.
    cluster.serves(&agent, &written);
    until("asked again", || (failures(&agent, "forbidden") >= 3.0).then_some(()));
    for said in ["the Secret cannot be watched through the Kubernetes API; retrying", "watching the Secret"] {
        assert!(agent.log_lines(said).len() <= 1, "{}", agent.log_text());
    }
}

fn failures(agent: &Agent, reason: &str) -> f64 {
    agent.metrics().sum("hotcert_api_failures_total", &[("reason", reason)])
}

#[test]
fn a_list_of_the_secret_is_in_force_with_the_rest_of_it() {
    let cluster = Cluster::start();
    let (leaf, stolen) = (cluster.leaf(), cluster.pki.leaf("stolen"));
    let thief = cluster.pki.credentials("stolen", &stolen, cluster.pki.roots());
    cluster.publish(&leaf, None);
    let agent = cluster.agent();
    cluster.serves(&agent, &leaf);
    let mut open = Pipe::tls(agent.address("inbound"), &thief, &[]);
    assert!(open.echoes("hello"));
    let list = kit::revocation::list(&cluster.pki, 1, &[&stolen.serial], 1);
    let files = [
        ("tls.crt", leaf.cert.as_str()),
        ("tls.key", &leaf.key),
        ("ca.crt", cluster.pki.roots()),
        ("ca.crl", &list),
    ];
    cluster.server.publish_files(NAMESPACE, SECRET, &files);
    open.wait_closed(kit::DEADLINE);
    assert!(!accepted(agent.address("inbound"), &thief));
    assert_eq!(agent.health()["served"]["revocation_lists"][0]["revoked"], 1);
    // Whoever writes the Secret without it has not put an end to it.
    let next = cluster.leaf();
    cluster.publish(&next, None);
    cluster.serves(&agent, &next);
    agent.wait_until("missed", |health| health["refused"]["revocation"]["reason"] == "missing_file");
    assert!(!accepted(agent.address("inbound"), &thief));
}

#[test]
fn a_volume_that_hangs_holds_up_neither_the_api_nor_the_end() {
    let cluster = Cluster::start();
    let (first, second) = (cluster.leaf(), cluster.leaf());
    let volume = cluster.volume(&first);
    cluster.publish(&first, Some(1));
    let mut agent = cluster.agent_with(&volume);
    believes(&agent, "api", "watched");
    cluster.serves(&agent, &first);
    let hanging = Hanging::over(&volume.path);
    agent.signal(Signal::HUP);
    agent.wait_until("hanging", |health| !health["source"]["hanging_seconds"].is_null());
    cluster.publish(&second, Some(2));
    let published = Instant::now();
    cluster.serves(&agent, &second);
    eprintln!("published to served beside a volume that hangs: {:?}", published.elapsed());
    for leaf in [cluster.leaf(), cluster.leaf()] {
        cluster.publish(&leaf, Some(3));
        cluster.serves(&agent, &leaf);
    }
    drop(hanging);
    agent.wait_until("answers", |health| health["source"]["hanging_seconds"].is_null());
    let _hanging = Hanging::over(&volume.path);
    agent.signal(Signal::HUP);
    agent.wait_until("hanging", |health| !health["source"]["hanging_seconds"].is_null());
    agent.signal(Signal::TERM);
    // After the delay for endpoints to propagate.
    assert_eq!(agent.wait_exit(kit::DEADLINE).code(), Some(0));
}
