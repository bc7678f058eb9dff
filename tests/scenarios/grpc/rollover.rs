//! Twenty leaf swaps of every agent and one root rollover of every party, while the client calls.

use hotcert::pki::authority::Authority;
use kit::agent::{Agent, Launch};
use kit::client::SERVER;
use kit::pipe::Pipe;
use kit::pki::{Pki, authority, dns, issue, request};
use kit::volume::Volume;

use super::libraries::Library;

const SWAPS: usize = 20;
const CALLER: &str = "caller";

/// What is between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Path {
    /// A client with TLS of its own, an agent before the server.
    Inbound,
    /// An agent at each end.
    Both,
    /// An agent after the client, a server with TLS of its own.
    Outbound,
    /// An agent at each end, and CONNECT to the first.
    Connect,
}

/// The client calls in this way from beginning to end, and no call fails.
#[track_caller]
pub fn passes(library: Library, path: Path, behaviour: &str) {
    // Connections under an older leaf are left while calls go on. tonic, and grpc-js with messages of 1 MiB, do not send
    // a call again that crosses a GOAWAY; between agents, none is lost.
    let args: &[&str] = match (path, library) {
        (Path::Inbound, Library::Tonic | Library::GrpcJs) => &[],
        _ => &["--drain-after", "50ms"],
    };
    let mut call = Call::start(library, path, behaviour, args);
    call.under_load();
    call.swap_leaves(|_| ());
    call.distribute_the_new_root();
    call.remove_the_old_root();
    call.end();
}

/// A stream is open from the first swap on. It ends with the root under which it was opened, not before.
#[track_caller]
pub fn holds_a_stream(library: Library, path: Path) {
    let mut call = Call::start(library, path, "unary", &["--root-drain", "2s"]);
    call.tell("open", "opened\n");
    call.swap_leaves(|call| call.tell("exchange", "exchanged\n"));
    call.distribute_the_new_root();
    call.tell("exchange", "exchanged\n");
    call.remove_the_old_root();
    call.tell("wait", "ended ");
    call.end();
}

/// Says a word and waits for the answer, before which no failure may be reported.
#[track_caller]
fn tell(library: &mut Pipe, word: &str, answer: &str) {
    library.say(&format!("{word}\n"));
    let said = library.hear(answer).unwrap_or_else(|| library.rest());
    assert!(said.ends_with(answer) && !said.contains("failure: "), "{said}");
}

#[derive(Clone, Copy)]
enum Root {
    Old,
    New,
}

#[derive(Clone, Copy)]
enum Side {
    Caller,
    Server,
}

/// An identity, and the agent that has it; else the library's own end has it.
struct Party {
    name: &'static str,
    volume: Volume,
    agent: Option<Agent>,
}

impl Party {
    fn new(pki: &Pki, name: &'static str) -> Self {
        let volume = pki.volume(name);
        volume.publish(&pki.leaf(name), pki.roots());
        Self { name, volume, agent: None }
    }

    fn launch(&self, args: &[&str]) -> Launch {
        Launch::new(&self.volume.path).args(args)
    }
}

struct Call {
    pki: Pki,
    new_root: Authority,
    // The client ends before what it calls.
    client: Pipe,
    caller: Party,
    callee: Party,
    server: Pipe,
    /// How often there was load.
    marks: usize,
}

impl Call {
    fn start(library: Library, path: Path, behaviour: &str, args: &[&str]) -> Self {
        let pki = Pki::default();
        let (mut caller, mut callee) = (Party::new(&pki, CALLER), Party::new(&pki, SERVER));
        let mut server = library.server((path == Path::Outbound).then_some(callee.volume.path.as_path()));
        server.hear("listening on ").expect("the server starts");
        let mut target = server.hear("\n").expect("the server has an address").trim().to_owned();
        if path != Path::Outbound {
            let agent = callee.launch(args).inbound("h2c:", target).ready();
            target = agent.address("inbound").to_string();
            callee.agent = Some(agent);
        }
        let mut proxy = None;
        match path {
            Path::Inbound => {}
            Path::Both | Path::Outbound => {
                let agent =
                    caller.launch(args).outbound("http:", format!("{target}#{}", dns(SERVER))).ready();
                target = agent.address("outbound").to_string();
                caller.agent = Some(agent);
            }
            Path::Connect => {
                let agent = caller.launch(args).http_proxy().ready();
                proxy = Some(format!("http://{}", agent.address("http-proxy")));
                // The name that the certificate must show is that which is asked for.
                target = target.replace("127.0.0.1", "localhost");
                caller.agent = Some(agent);
            }
        }
        let own = (path == Path::Inbound).then_some(caller.volume.path.as_path());
        let client = library.client(&target, behaviour, own, proxy);
        Self { pki, new_root: authority("root two"), client, caller, callee, server, marks: 0 }
    }

    #[track_caller]
    fn swap_leaves(&mut self, mut after_each: impl FnMut(&mut Self)) {
        for _ in 0..SWAPS {
            for side in [Side::Caller, Side::Server] {
                if self.side(side).agent.is_some() {
                    self.publish(side, Root::Old, &[Root::Old]);
                }
            }
            self.under_load();
            after_each(self);
        }
    }

    /// Every party trusts the new root before any leaf is under it.
    #[track_caller]
    fn distribute_the_new_root(&mut self) {
        self.publish_to_all(Root::Old, &[Root::Old, Root::New]);
        self.publish_to_all(Root::New, &[Root::Old, Root::New]);
    }

    #[track_caller]
    fn remove_the_old_root(&mut self) {
        self.publish_to_all(Root::New, &[Root::New]);
    }

    #[track_caller]
    fn publish_to_all(&mut self, issuer: Root, trusted: &[Root]) {
        for side in [Side::Server, Side::Caller] {
            self.publish(side, issuer, trusted);
            self.under_load();
        }
    }

    fn root(&self, root: Root) -> &Authority {
        match root {
            Root::Old => &self.pki.root,
            Root::New => &self.new_root,
        }
    }

    fn side(&self, side: Side) -> &Party {
        match side {
            Side::Caller => &self.caller,
            Side::Server => &self.callee,
        }
    }

    /// Publishes a new leaf and these roots to a party, and waits until it uses them.
    #[track_caller]
    fn publish(&mut self, side: Side, issuer: Root, trusted: &[Root]) {
        let party = self.side(side);
        let leaf = issue(self.root(issuer), &request(party.name));
        let roots: String = trusted.iter().map(|root| self.root(*root).certificate_pem()).collect();
        party.volume.publish(&leaf, &roots);
        if let Some(agent) = &party.agent {
            agent.wait_serving(&leaf.serial);
            return;
        }
        let library = match side {
            Side::Caller => &mut self.client,
            Side::Server => &mut self.server,
        };
        tell(library, "reload", "reloaded\n");
    }

    #[track_caller]
    fn tell(&mut self, word: &str, answer: &str) {
        tell(&mut self.client, word, answer);
    }

    /// Waits until calls that the client began after this call have succeeded: over the channel that it has, and over
    /// a new one.
    #[track_caller]
    fn under_load(&mut self) {
        self.tell("call", "called\n");
        self.marks += 1;
    }

    #[track_caller]
    fn end(mut self) {
        self.client.end();
        let result = self.client.rest();
        let succeeded =
            result.lines().find_map(|line| line.strip_prefix("succeeded ")?.strip_suffix(" failed 0"));
        let succeeded: usize = succeeded.unwrap_or_else(|| panic!("{result}")).parse().unwrap();
        // One over a new channel and one in each of the loops, each time.
        assert!(succeeded >= 3 * self.marks, "{succeeded} calls are no load");
        for agent in [&self.caller.agent, &self.callee.agent].into_iter().flatten() {
            let sent_away = [("reason", "frames")];
            assert_eq!(agent.metrics().sum("hotcert_connections_closed_total", &sent_away), 0.0);
        }
        self.server.end();
    }
}
